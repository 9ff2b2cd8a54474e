"""Writing a part of a tensor: the part is a segment, what is named by number stays."""

from __future__ import annotations

import pytest
import torch
from torch.fx import Node

from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import Step, largest_law_error, offered, reasons, through


def half(b: Builder, h: Node) -> Node:
    """Four new channels for each row."""
    return b.call(aten.linear.default, h, b.parameter("more", 4, 8))


def write_slice(start: int, end: int) -> Step:
    def step(b: Builder, h: Node) -> Node:
        source = half(b, b.call(aten.tanh.default, h))
        return b.call(aten.slice_scatter.default, h, source, 1, start, end)

    return step


@pytest.mark.parametrize(("start", "end"), [(0, 4), (4, 8), (-4, 2**63 - 1), (2, 6)])
def test_a_written_range_is_a_segment_that_shrinks_with_its_source(start: int, end: int) -> None:
    program = through(write_slice(start, end))
    assert sum(size for _, size in offered(program)) == 8
    assert (("ffn-channel", 4)) in offered(program)
    assert largest_law_error(program) < ROUNDING


def test_what_lies_beside_a_written_range_is_shared() -> None:
    def step(b: Builder, h: Node) -> Node:
        rows = b.call(aten.tanh.default, b.call(aten.slice.Tensor, h, 0, 0, 5))
        return b.call(aten.slice_scatter.default, h, rows, 0, 5, 10)

    program = through(step)
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("index", [0, 3, -1])
def test_a_written_position_stays_and_its_neighbours_may_go(index: int) -> None:
    def step(b: Builder, h: Node) -> Node:
        row = b.call(aten.select.int, h, 1, 2)
        first = b.call(aten.slice.Tensor, h, 1, 0, 3)
        rest = b.call(aten.tanh.default, b.call(aten.slice.Tensor, h, 1, 3, 8))
        both = b.call(aten.cat.default, [first, rest], 1)
        return b.call(aten.select_scatter.default, both, row, 1, index)

    program = through(step)
    assert 0 < sum(size for _, size in offered(program)) <= 6  # without what is read and written
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("name", ["index_fill", "index_add", "index_copy"])
@pytest.mark.parametrize("dim", [0, 1])
def test_positions_that_an_index_names_stay_and_those_beside_them_pass(name: str, dim: int) -> None:
    def step(b: Builder, h: Node) -> Node:
        index = b.buffer("index", torch.tensor([1, 3]))
        if name == "index_fill":
            return b.call(aten.index_fill.int_Scalar, h, dim, index, 0.0)
        source = b.call(aten.tanh.default, b.call(aten.slice.Tensor, h, dim, 0, 2))
        return b.call(getattr(aten, name).default, h, dim, index, source)

    program = through(step)
    if dim == 1:
        assert "positions of it are written by number" in reasons(program, "start.up", 0)
        assert offered(program) == []
    else:
        assert offered(program) == [("ffn-channel", 8)]
        assert largest_law_error(program) < ROUNDING
