"""Operators that work on each element: tables that have no parameters behind them."""

from __future__ import annotations

import pytest

from support.builder import aten
from support.laws import ROUNDING
from support.small_programs import largest_law_error, offered, through


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
