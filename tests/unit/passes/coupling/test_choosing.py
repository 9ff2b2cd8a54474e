"""Operators that choose: by value, by the input, by a table of numbers."""

from __future__ import annotations

import pytest
import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import find_structures
from support.architectures import architecture_program
from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import ROWS, largest_law_error, offered, reasons, through


def numbers(b: Builder, *values: int) -> Node:
    """A table of numbers."""
    return b.buffer("numbers", torch.tensor(values))


def test_the_best_few_are_an_axis_that_stays() -> None:
    def step(b: Builder, h: Node) -> Node:
        return b.part(b.call(aten.topk.default, h, 3, 1), 0)

    program = through(step, after=3)
    assert offered(program) == [("expert", 8)]
    assert [s.least for s in find_structures(program).structures] == [3]
    assert reasons(program, "start.down", 1) == ["it counts the best few of a dimension"]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("form", ["index", "index_select", "embedding", "gather"])
def test_rows_that_are_chosen_by_number_stay_and_the_rest_passes(form: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        table, rows = b.parameter("table", 6, 8), numbers(b, *range(5), *range(5))
        if form == "index":
            chosen = b.call(aten.index.Tensor, table, [rows])
        elif form == "index_select":
            chosen = b.call(aten.index_select.default, table, 0, rows)
        elif form == "embedding":
            chosen = b.call(aten.embedding.default, table, rows)
        else:
            wide = b.call(aten.expand.default, b.call(aten.unsqueeze.default, rows, 1), [ROWS, 8])
            longer = b.call(aten.cat.default, [table, b.parameter("more", 4, 8)], 0)
            chosen = b.call(aten.gather.default, longer, 0, wide)
        return b.call(aten.mul.Tensor, h, chosen)

    program = through(step)
    assert offered(program) == [("ffn-channel", 8)]
    assert "by number" in reasons(program, "start.table", 0)[0]
    assert largest_law_error(program) < ROUNDING


def test_two_tables_of_numbers_choose_by_row_and_column() -> None:
    def step(b: Builder, h: Node) -> Node:
        table, rows = b.parameter("table", 6, 7, 8), numbers(b, *range(5), *range(5))
        chosen = b.call(aten.index.Tensor, table, [rows, rows])
        return b.call(aten.mul.Tensor, h, chosen)

    program = through(step)
    assert offered(program) == [("ffn-channel", 8)]
    assert all("by number" in reasons(program, "start.table", dim)[0] for dim in (0, 1))
    assert largest_law_error(program) < ROUNDING


def test_a_gather_of_the_first_columns_refuses_all_of_them() -> None:
    def step(b: Builder, h: Node) -> Node:
        rows = b.buffer("numbers", torch.arange(ROWS * 5).reshape(ROWS, 5) % ROWS)
        return b.call(aten.gather.default, h, 0, rows)

    program = through(step, after=5)
    assert not offered(program)
    assert reasons(program, "start.up", 0) == ["only its first positions are used"]
    assert reasons(program, "start.down", 1) == ["only first positions are used along it"]


def test_each_expert_may_keep_its_own_inner_channels() -> None:
    def step(b: Builder, h: Node) -> Node:
        scores = b.call(aten.linear.default, h, b.parameter("router", 4, 8))
        best = b.part(b.call(aten.topk.default, scores, 2, -1), 1)
        up, down = b.parameter("inner_up", 4, 5, 8), b.parameter("inner_down", 4, 8, 5)
        up, down = (b.call(aten.index.Tensor, w, [best]) for w in (up, down))
        x = b.call(aten.view.default, h, [ROWS, 1, 8, 1])
        inner = b.call(aten.tanh.default, b.call(aten.matmul.default, up, x))
        y = b.call(aten.squeeze.dim, b.call(aten.matmul.default, down, inner), -1)
        return b.call(aten.sum.dim_IntList, y, [1])

    program = through(step)
    coupling = find_structures(program)
    (channels,) = (s for s in coupling.of_kind("expert-channel") if s.size == 5)
    (experts,) = coupling.of_kind("expert")
    assert (experts.size, experts.least, channels.size) == (4, 2, 5)
    assert channels.outer is experts.atom
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("op", [aten.scatter, aten.scatter_add])
def test_what_is_written_by_number_stays(op: torch._ops.OpOverloadPacket) -> None:
    def step(b: Builder, h: Node) -> Node:
        places = b.buffer("numbers", torch.arange(ROWS * 2).reshape(ROWS, 2) % 8)
        values = b.buffer("values", b.noise(ROWS, 2))
        overload = op.src if op is aten.scatter else op.default
        return b.call(overload, h, 1, places, values)

    program = through(step)
    assert not offered(program)
    assert "by number" in reasons(program, "start.up", 0)[0]


def test_what_is_written_along_rows_shares_its_columns() -> None:
    def step(b: Builder, h: Node) -> Node:
        rows = b.buffer("numbers", torch.arange(ROWS).unsqueeze(1).expand(ROWS, 8).clone())
        values = b.call(aten.linear.default, h, b.parameter("other", 8, 8))
        return b.call(aten.scatter_add.default, h, 0, rows, values)

    program = through(step)
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


def test_what_is_written_to_the_first_columns_refuses_all_of_them() -> None:
    def step(b: Builder, h: Node) -> Node:
        rows = b.buffer("numbers", torch.arange(ROWS).unsqueeze(1).expand(ROWS, 5).clone())
        values = b.call(aten.linear.default, h, b.parameter("other", 8, 8))
        return b.call(aten.scatter_add.default, h, 0, rows, values)

    program = through(step)
    assert not offered(program)
    for weight in ("start.up", "start.other"):
        assert reasons(program, weight, 0) == ["only its first positions are used"]


def test_a_one_for_each_place_of_the_best_keeps_the_axis() -> None:
    def step(b: Builder, h: Node) -> Node:
        places = b.part(b.call(aten.topk.default, h, 2, 1), 1)
        ones = b.call(aten.to.dtype, b.call(aten.one_hot.default, places, 8), torch.float64)
        return b.call(aten.mul.Tensor, h, b.call(aten.sum.dim_IntList, ones, [1]))

    program = through(step)
    assert offered(program) == [("expert", 8)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("form", ["index", "index_select"])
def test_numbers_that_choose_one_for_each_channel_are_cut_with_it(form: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        table, places = b.parameter("table", 6), numbers(b, 5, 4, 3, 2, 1, 0, 1, 2)
        if form == "index":
            return b.call(aten.mul.Tensor, h, b.call(aten.index.Tensor, table, [places]))
        return b.call(aten.mul.Tensor, h, b.call(aten.index_select.default, table, 0, places))

    program = through(step)
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


def test_a_stream_that_a_lookup_adds_to_is_residual() -> None:
    def step(b: Builder, h: Node) -> Node:
        gate = b.call(aten.linear.default, h, b.parameter("gate", 1, 8))
        rows = numbers(b, *range(ROWS))
        found = b.call(aten.embedding.default, b.parameter("table", ROWS, 8), rows)
        return b.call(aten.mul.Tensor, b.call(aten.add.Tensor, h, found), gate)

    program = through(step)
    assert offered(program) == [("residual", 8)]
    assert largest_law_error(program) < ROUNDING


def test_what_is_chosen_among_groups_and_their_members_leaves_enough_of_both() -> None:
    def step(b: Builder, h: Node) -> Node:
        groups = b.call(aten.view.default, h, [ROWS, 2, 4])
        summed = b.call(aten.sum.dim_IntList, groups, [1], True)
        flat = b.call(aten.view.default, b.call(aten.add.Tensor, groups, summed), [ROWS, 8])
        return b.part(b.call(aten.topk.default, flat, 3, 1), 0)

    program = through(step, after=3)
    least = {s.size: s.least for s in find_structures(program).structures}
    assert least == {4: 3, 2: 1}
    assert largest_law_error(program) < ROUNDING


def test_experts_in_groups_are_named_experts() -> None:
    coupling = find_structures(architecture_program("deepseek-v2"))
    experts = coupling.of_kind("expert")
    assert [(s.size, s.least) for s in experts] == [(2, 1), (3, 2)]
    assert all(s.name.startswith("expert/") for s in experts)
