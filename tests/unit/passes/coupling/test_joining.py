"""Cat, stack, slice, select, split: what they offer and what they refuse."""

from __future__ import annotations

import pytest
from torch.fx import Node

from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import Step, largest_law_error, offered, reasons, through


def part(form: str) -> Step:
    """The second half of eight channels, in different spellings."""

    def step(b: Builder, h: Node) -> Node:
        if form == "slice":
            return b.call(aten.slice.Tensor, h, 1, 4, 8)
        if form == "from the end":
            return b.call(aten.slice.Tensor, h, 1, -4)
        if form == "sizes":
            return b.part(b.call(aten.split_with_sizes.default, h, [1, 3, 4], 1), 2)
        op = aten.chunk.default if form == "chunk" else aten.split.Tensor
        return b.part(b.call(op, h, 2 if form == "chunk" else 4, -1), 1)

    return step


@pytest.mark.parametrize("form", ["slice", "from the end", "sizes", "chunk", "split"])
def test_a_part_of_the_channels_is_an_axis_of_its_own(form: str) -> None:
    program = through(part(form), after=4)
    assert ("ffn-channel", 4) in offered(program)
    assert any("nothing sums over it" in reason for reason in reasons(program, "start.up", 0))
    assert largest_law_error(program) < ROUNDING


def test_a_part_that_is_cut_moves_the_bounds_of_the_next() -> None:
    def step(b: Builder, h: Node) -> Node:
        first, second = (b.call(aten.slice.Tensor, h, 1, 4 * i, 4 * i + 4) for i in (0, 1))
        return b.call(aten.cat.default, [second, b.call(aten.tanh.default, first)], 1)

    program = through(step)
    assert offered(program) == [("ffn-channel", 4), ("ffn-channel", 4)]
    assert largest_law_error(program) < ROUNDING


def test_what_lies_beside_a_cat_is_shared() -> None:
    def step(b: Builder, h: Node) -> Node:
        longer = b.call(aten.cat.default, [h, b.parameter("more", 1, 8)], 0)
        return b.call(aten.slice.Tensor, longer, 0, 0, 10)

    program = through(step)
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


def test_every_other_channel_is_an_outer_part() -> None:
    def step(b: Builder, h: Node) -> Node:
        return b.call(aten.slice.Tensor, h, 1, 1, 8, 2)

    program = through(step, after=4)
    assert offered(program) == [("ffn-channel", 4)]
    assert reasons(program, "start.up", 0) == ["every other position of it is picked by number"]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("bounds", [(0, 3, 2), (5, 8, 2)])
def test_a_part_of_every_other_channel_is_refused(bounds: tuple[int, int, int]) -> None:
    program = through(lambda b, h: b.call(aten.slice.Tensor, h, 1, *bounds), after=2)
    assert not offered(program)
    for weight, dim in (("start.up", 0), ("start.down", 1)):
        assert any("a slice cuts through its parts" in r for r in reasons(program, weight, dim))


def test_a_slice_whose_bounds_are_dynamic_is_refused() -> None:
    def step(b: Builder, h: Node) -> Node:
        return b.call(aten.slice.Tensor, h, 1, 0, b.call(aten.sym_size.int, h, 1))

    program = through(step)
    assert not offered(program)
    for weight, dim in (("start.up", 0), ("start.down", 1)):
        assert any("bounds depend on a dynamic size" in r for r in reasons(program, weight, dim))


def test_stacked_tensors_are_counted_by_an_axis_that_stays() -> None:
    def step(b: Builder, h: Node) -> Node:
        both = b.call(aten.stack.default, [h, b.call(aten.tanh.default, h)], -1)
        return b.call(aten.flatten.using_ints, both, 1)

    program = through(step, after=16)
    assert offered(program) == [("ffn-channel", 8)]
    assert reasons(program, "start.down", 1) == ["it counts tensors that are stacked"]
    assert largest_law_error(program) < ROUNDING


def test_tensors_that_are_stacked_share_their_channels() -> None:
    def step(b: Builder, h: Node) -> Node:
        other = b.call(aten.linear.default, h, b.parameter("other", 8, 8))
        return b.call(aten.sum.dim_IntList, b.call(aten.stack.default, [h, other], 0), [0])

    program = through(step)
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("index", [3, -5])
def test_one_channel_that_is_picked_stays(index: int) -> None:
    def step(b: Builder, h: Node) -> Node:
        picked = b.call(aten.unsqueeze.default, b.call(aten.select.int, h, 1, index), 1)
        return b.call(aten.mul.Tensor, h, picked)

    program = through(step)
    assert offered(program) == [("ffn-channel", 3), ("ffn-channel", 4)]
    assert largest_law_error(program) < ROUNDING


def test_a_position_that_is_picked_out_of_a_group_refuses_the_whole_axis() -> None:
    def step(b: Builder, h: Node) -> Node:
        pairs = b.call(aten.view.default, h, [10, 4, 2])
        flat = b.call(aten.view.default, b.call(aten.tanh.default, pairs), [10, 8])
        picked = b.call(aten.unsqueeze.default, b.call(aten.select.int, flat, 1, 3), 1)
        return b.call(aten.mul.Tensor, flat, picked)

    program = through(step)
    assert not offered(program)
    assert set(reasons(program, "start.up", 0)) == {"one position of it is picked by number"}


def test_positions_that_are_taken_apart_stay() -> None:
    def step(b: Builder, h: Node) -> Node:
        parts = b.call(aten.unbind.int, b.call(aten.view.default, h, [10, 4, 2]), 2)
        return b.call(aten.mul.Tensor, b.part(parts, 0), b.part(parts, 1))

    program = through(step, after=4)
    assert offered(program) == [("ffn-channel", 4)]
    assert reasons(program, "start.up", 0) == ["its positions are taken apart by number"]
    assert largest_law_error(program) < ROUNDING


def test_a_split_across_groups_is_refused() -> None:
    def step(b: Builder, h: Node) -> Node:
        pairs = b.call(aten.mul.Tensor, b.call(aten.view.default, h, [10, 4, 2]), 2.0)
        flat = b.call(aten.view.default, pairs, [10, 8])
        parts = b.call(aten.split_with_sizes.default, flat, [3, 5], 1)
        return b.part(parts, 0)

    program = through(step, after=3)
    for weight, dim in (("start.up", 0), ("start.down", 1)):
        assert any("a split cuts through its parts" in r for r in reasons(program, weight, dim))


def test_halves_that_gate_one_another_are_one_axis() -> None:
    program = through(lambda b, h: b.call(aten.glu.default, h, 1), after=4)
    assert offered(program) == [("ffn-channel", 4)]
    assert largest_law_error(program) < ROUNDING
