"""Convolutions and windows: channels pass in groups, what slides is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch.fx import Node

from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import ROWS, largest_law_error, offered, reasons, through

Window = Callable[[Builder, Node], Node]

WINDOWS: dict[str, Window] = {
    "conv1d": lambda b, x: b.call(
        aten.conv1d.default, x, b.parameter("kernel", 2, 2, 3), None, [1], [1]
    ),
    "avg_pool1d": lambda b, x: b.call(aten.avg_pool1d.default, x, [3], [1], [1]),
    "max_pool1d": lambda b, x: b.call(aten.max_pool1d.default, x, [3], [1], [1]),
    "with indices": lambda b, x: b.part(
        b.call(aten.max_pool2d_with_indices.default, x, [1, 3], [1, 1], [0, 1]), 0
    ),
    "1d with indices": lambda b, x: b.part(
        b.call(aten.max_pool1d_with_indices.default, x, [3], [1], [1]), 0
    ),
    "adaptive_max_pool1d": lambda b, x: b.part(b.call(aten.adaptive_max_pool1d.default, x, [4]), 0),
    "nearest exact": lambda b, x: b.call(
        aten._upsample_nearest_exact1d.default, b.call(aten.avg_pool1d.default, x, [2]), [4]
    ),
}


def convolve(
    groups: int, transposed: bool = False, *, decomposed: bool = False
) -> Callable[[Builder, Node], Node]:
    """A convolution over one position, with a bias."""

    def step(b: Builder, h: Node) -> Node:
        y = b.call(aten.unsqueeze.default, h, 2)
        weight, bias = b.parameter("kernel", 8, 8 // groups, 1), b.parameter("shift", 8)
        if decomposed:
            sizes = ([1], [0], [1], transposed, [0], groups)
            y = b.call(aten.convolution.default, y, weight, bias, *sizes)
        elif transposed:
            y = b.call(aten.conv_transpose1d.default, y, weight, bias, [1], [0], [0], groups)
        else:
            y = b.call(aten.conv1d.default, y, weight, bias, [1], [0], [1], groups)
        return b.call(aten.squeeze.dim, y, 2)

    return step


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_decomposed_convolution_is_cut_as_a_whole_one(groups: int, transposed: bool) -> None:
    program = through(convolve(groups, transposed, decomposed=True))
    assert offered(program) == offered(through(convolve(groups, transposed)))
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize(
    ("groups", "axes"),
    [
        (1, [("conv-channel", 8), ("ffn-channel", 8)]),
        (2, [("conv-channel", 4), ("ffn-channel", 2), ("ffn-channel", 4)]),
        (8, [("ffn-channel", 8)]),
    ],
)
def test_groups_of_channels_go_together(groups: int, axes: list[tuple[str, int]]) -> None:
    program = through(convolve(groups))
    assert offered(program) == axes
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize(
    ("groups", "axes"),
    [
        (1, [("conv-channel", 8), ("ffn-channel", 8)]),
        (2, [("conv-channel", 4), ("ffn-channel", 2), ("ffn-channel", 4)]),
        (8, [("ffn-channel", 8)]),
    ],
)
def test_a_transposed_convolution_has_its_channels_the_other_way_round(
    groups: int, axes: list[tuple[str, int]]
) -> None:
    program = through(convolve(groups, transposed=True))
    assert offered(program) == axes
    assert largest_law_error(program) < ROUNDING


def test_groups_of_a_transposed_convolution_may_have_more_channels_than_they_read() -> None:
    def step(b: Builder, h: Node) -> Node:
        weight, bias = b.parameter("kernel", 8, 3, 1), b.parameter("shift", 6)
        x = b.call(aten.unsqueeze.default, h, 2)
        y = b.call(aten.conv_transpose1d.default, x, weight, bias, [1], [0], [0], 2)
        return b.call(aten.squeeze.dim, y, 2)

    program = through(step, after=6)
    assert offered(program) == [("conv-channel", 3), ("ffn-channel", 2), ("ffn-channel", 4)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("transposed", [False, True])
def test_groups_that_do_not_line_up_refuse_the_channels(transposed: bool) -> None:
    def step(b: Builder, h: Node) -> Node:
        first = b.call(aten.slice.Tensor, h, 1, 0, 3)
        rest = b.call(aten.tanh.default, b.call(aten.slice.Tensor, h, 1, 3, 8))
        return convolve(2, transposed)(b, b.call(aten.cat.default, [rest, first], 1))

    program = through(step)
    for weight, dim in (("start.up", 0), ("start.kernel", 0), ("start.down", 1)):
        assert any("groups do not line up" in reason for reason in reasons(program, weight, dim))


@pytest.mark.parametrize("window", WINDOWS)
def test_what_a_window_slides_over_is_refused(window: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        rows = [ROWS, 2, 1, 4] if window == "with indices" else [ROWS, 2, 4]
        y = WINDOWS[window](b, b.call(aten.view.default, h, rows))
        return b.call(aten.reshape.default, y, [ROWS, 8])

    program = through(step)
    for weight, dim in (("start.up", 0), ("start.down", 1)):
        assert "a window slides over it" in reasons(program, weight, dim)
    assert {size for _, size in offered(program)} == {2}
    assert largest_law_error(program) < ROUNDING


def test_a_stream_that_a_convolution_in_groups_adds_to_is_residual() -> None:
    def step(b: Builder, h: Node) -> Node:
        inner = b.call(aten.tanh.default, convolve(2)(b, h))
        return b.call(aten.add.Tensor, h, convolve(2)(b, inner))

    program = through(step)
    assert ("residual", 4) in offered(program)
    assert largest_law_error(program) < ROUNDING
