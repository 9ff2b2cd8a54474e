"""Operators that work on each element: tables that have no parameters behind them."""

from __future__ import annotations

import pytest
from torch.fx import Node

from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import largest_law_error, offered, reasons, through


@pytest.mark.parametrize("shape", [(8,), (1, 8), (10, 8)])
def test_a_table_is_gathered_where_it_is_used(shape: tuple[int, ...]) -> None:
    program = through(lambda b, h: b.call(aten.mul.Tensor, h, b.buffer("table", b.noise(*shape))))
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("op", [aten.to.other, aten.type_as.default])
def test_what_only_gives_a_dtype_is_not_coupled(op: object) -> None:
    program = through(lambda b, h: b.call(op, h, b.parameter("other", 3, 8)))
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


def test_operands_whose_parts_do_not_line_up_are_refused() -> None:
    def step(b: Builder, h: Node) -> Node:
        other = b.call(aten.linear.default, h, b.parameter("other", 8, 8))
        parts = b.call(aten.split_with_sizes.default, other, [5, 3], 1)
        turned = b.call(aten.cat.default, [b.part(parts, 1), b.part(parts, 0)], 1)
        pairs = b.call(aten.tanh.default, b.call(aten.view.default, h, [10, 4, 2]))
        return b.call(aten.add.Tensor, b.call(aten.view.default, pairs, [10, 8]), turned)

    program = through(step)
    for weight in ("start.up", "start.other"):
        assert any("do not line up" in reason for reason in reasons(program, weight, 0))
    assert not offered(program)
