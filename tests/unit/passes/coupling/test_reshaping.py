"""Operators that move dimensions: what they repeat, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.fx import Node

from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import ROWS, largest_law_error, offered, reasons, through

Form = Callable[[Builder, Node], Node]


def test_a_view_that_splits_a_cat_across_its_parts_is_refused() -> None:
    def step(b: Builder, h: Node) -> Node:
        parts = b.call(aten.split_with_sizes.default, h, [3, 5], 1)
        both = b.call(aten.cat.default, [b.part(parts, 1), b.part(parts, 0)], 1)
        pairs = b.call(aten.tanh.default, b.call(aten.view.default, both, [ROWS, 4, 2]))
        return b.call(aten.select.int, pairs, 2, 0)

    program = through(step, after=4)
    assert not offered(program)
    for weight, dim in (("start.up", 0), ("start.down", 1)):
        assert any(
            "splits it across its parts" in reason for reason in reasons(program, weight, dim)
        )


REFUSED: dict[str, tuple[Form, str]] = {
    "roll": (lambda b, h: b.call(aten.roll.default, h, [1], [1]), "change place by number"),
    "roll all": (lambda b, h: b.call(aten.roll.default, h, [1]), "change place by number"),
    "flip": (lambda b, h: b.call(aten.flip.default, h, [1]), "change place by number"),
    "tril": (lambda b, h: b.call(aten.tril.default, h), "compared by number"),
    "triu": (lambda b, h: b.call(aten.triu.default, h), "compared by number"),
    "cumsum": (lambda b, h: b.call(aten.cumsum.default, h, 1), "runs along it in order"),
    "sort": (lambda b, h: b.part(b.call(aten.sort.default, h, 1), 0), "runs along it in order"),
    "argsort": (
        lambda b, h: b.call(aten.to.dtype, b.call(aten.argsort.default, h, 1), torch.float64),
        "runs along it in order",
    ),
    "pad": (lambda b, h: b.call(aten.pad.default, h, [1, -1]), "padded at its ends"),
    "constant_pad": (
        lambda b, h: b.call(aten.constant_pad_nd.default, h, [1, -1]),
        "padded at its ends",
    ),
    "unfold": (
        lambda b, h: b.call(aten.squeeze.dim, b.call(aten.unfold.default, h, 1, 8, 1), 1),
        "windows overlap on it",
    ),
    "complex": (
        lambda b, h: b.call(
            aten.flatten.using_ints,
            b.call(
                aten.view_as_real.default,
                b.call(aten.view_as_complex.default, b.call(aten.view.default, h, [ROWS, 4, 2])),
            ),
            1,
        ),
        "a real and an imaginary part",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_an_order_or_two_parts_stays(name: str) -> None:
    form, why = REFUSED[name]
    program = through(form)
    assert any(why in reason for reason in reasons(program, "start.up", 0))
    assert any(why in reason for reason in reasons(program, "start.down", 1))


def test_channels_that_become_pixels_stay() -> None:
    def step(b: Builder, h: Node) -> Node:
        image = b.call(aten.view.default, h, [ROWS, 8, 1, 1])
        shuffled = b.call(aten.pixel_shuffle.default, image, 2)
        return b.call(aten.reshape.default, shuffled, [ROWS, 8])

    program = through(step)
    assert offered(program) == [("ffn-channel", 2)]
    for weight, dim in (("start.up", 0), ("start.down", 1)):
        assert set(reasons(program, weight, dim)) == {"it becomes part of an image's extent"}
    assert largest_law_error(program) < ROUNDING


def column(b: Builder, h: Node) -> Node:
    """One number for each row: [10, 1]."""
    return b.call(aten.linear.default, h, b.parameter("column", 1, 8))


REPEATED: dict[str, Form] = {
    "expand": lambda b, x: b.call(aten.expand.default, x, [ROWS, 8]),
    "broadcast_to": lambda b, x: b.call(aten.broadcast_to.default, x, [ROWS, 8]),
    "repeat": lambda b, x: b.call(aten.repeat.default, x, [1, 8]),
    "tile": lambda b, x: b.call(aten.tile.default, x, [8]),
    "repeat_interleave": lambda b, x: b.call(aten.repeat_interleave.self_int, x, 8, 1),
    "with its size": lambda b, x: b.call(aten.repeat_interleave.self_int, x, 8, 1, output_size=8),
}


@pytest.mark.parametrize("name", REPEATED)
def test_what_is_repeated_is_repeated_less(name: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        return b.call(aten.mul.Tensor, REPEATED[name](b, column(b, h)), b.parameter("scale", 8))

    program = through(step)
    assert ("query-head-in-group", 8) in offered(program) or ("ffn-channel", 8) in offered(program)
    assert len(offered(program)) == 2
    assert largest_law_error(program) < ROUNDING


SHARED: dict[str, Form] = {
    "expand": lambda b, k: b.call(
        aten.reshape.default,
        b.call(aten.expand.default, b.call(aten.unsqueeze.default, k, 1), [3, 2, ROWS, 4]),
        [6, ROWS, 4],
    ),
    "repeat": lambda b, k: b.call(aten.repeat.default, k, [2, 1, 1]),
    "repeat_interleave": lambda b, k: b.call(aten.repeat_interleave.self_int, k, 2, 0),
}


@pytest.mark.parametrize("name", SHARED)
def test_keys_that_are_repeated_make_groups_of_heads(name: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        def part(role: str, count: int) -> Node:
            y = b.call(aten.linear.default, h, b.parameter(role, count * 4, 8))
            return b.call(aten.transpose.int, b.call(aten.view.default, y, [ROWS, count, 4]), 0, 1)

        k, v = (SHARED[name](b, part(role, 3)) for role in ("k", "v"))
        y = b.call(aten.scaled_dot_product_attention.default, part("q", 6), k, v)
        return b.call(aten.reshape.default, b.call(aten.transpose.int, y, 0, 1), [ROWS, 24])

    program = through(step, after=24)
    kinds = [("kv-group", 3), ("kv-latent", 8), ("qk-dim", 4), ("query-head-in-group", 2)]
    assert offered(program) == [*kinds, ("vo-dim", 4)]
    assert largest_law_error(program) < ROUNDING


def test_complex_numbers_beside_channels_that_are_cut_to_an_odd_number() -> None:
    def step(b: Builder, h: Node) -> Node:
        first, rest = (b.call(aten.slice.Tensor, h, 1, i, i + 4) for i in (0, 4))
        pairs = b.call(aten.view.default, first, [ROWS, 2, 2])
        real = b.call(aten.view_as_real.default, b.call(aten.view_as_complex.default, pairs))
        return b.call(aten.cat.default, [b.call(aten.flatten.using_ints, real, 1), rest], 1)

    program = through(step)
    assert offered(program) == [("ffn-channel", 2), ("ffn-channel", 4)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("name", ["full", "zeros", "ones", "new_ones", "new_full"])
def test_constants_beside_channels_are_made_smaller(name: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        source = (h,) if name.startswith("new") else ()
        value = (0.5,) if name.endswith("full") else ()
        dtype = {} if name.startswith("new") else {"dtype": torch.float64}
        constant = b.call(getattr(aten, name).default, *source, [ROWS, 4], *value, **dtype)
        return b.call(aten.cat.default, [h, constant], 1)

    program = through(step, after=12)
    assert offered(program) == [("ffn-channel", 4), ("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("op", [aten.movedim.int, aten.moveaxis.int, aten.swapdims.default])
@pytest.mark.parametrize(("source", "destination"), [(1, 2), (-1, 1), (2, -2)])
def test_a_dimension_that_is_moved_takes_its_axis_along(
    source: int, destination: int, op: torch._ops.OpOverload
) -> None:
    def step(b: Builder, h: Node) -> Node:
        pairs = b.call(aten.view.default, h, [ROWS, 4, 2])
        moved = b.call(op, pairs, source, destination)
        return b.call(aten.reshape.default, moved, [ROWS, 8])

    program = through(step)
    assert offered(program) == [("ffn-channel", 2), ("ffn-channel", 4)]
    assert largest_law_error(program) < ROUNDING
