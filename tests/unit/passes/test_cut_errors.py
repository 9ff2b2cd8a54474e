"""Selections that cannot be cut are refused by name and reason, and nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from torch.fx import Node

from prunec.passes.analysis.coupling import Structure, find_structures
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import ProgramError
from prunec.passes.ir.axes import Atom, Indices, leaves
from prunec.passes.ir.selection import Kept, PerUnit
from prunec.passes.plan import Cut, Plan
from prunec.passes.surgery import CutError, RemoveStructures, cut_program
from support.architectures import architecture_program
from support.builder import Builder, aten
from support.models import small_program
from support.small_programs import through

PROGRAM = small_program()
COUPLING = find_structures(PROGRAM)
CHANNELS = COUPLING.of_kind("ffn-channel")[0]
HEADS = COUPLING.of_kind("query-head-in-group")[0]
OTHER = COUPLING.of_kind("kv-group")[1]
FIRST = np.array([0])


def refused(selection: Mapping[Atom, Kept]) -> str:
    before = {name: weight.clone() for name, weight in PROGRAM.weights.items()}
    nodes = len(PROGRAM.main.graph.nodes)
    with pytest.raises(CutError) as found:
        cut_program(PROGRAM, COUPLING, selection)
    assert len(PROGRAM.main.graph.nodes) == nodes
    assert all((before[name] == weight).all() for name, weight in PROGRAM.weights.items())
    return str(found.value)


@pytest.mark.parametrize(
    ("keep", "reason"),
    [([], "at least 1 must"), ([1, 1], "ascending"), ([3, 2], "ascending"), ([0, 96], "below 96")],
)
def test_units_that_are_none_twice_unordered_or_not_there(keep: list[int], reason: str) -> None:
    message = refused({CHANNELS.atom: np.array(keep, dtype=np.int64)})
    assert CHANNELS.name in message
    assert reason in message


def per_unit(structure: Structure, outer: Atom, rows: int) -> dict[Atom, Kept]:
    return {structure.atom: PerUnit(outer, np.zeros((rows, 1), dtype=np.int64))}


def test_units_cannot_be_told_apart_by_an_axis_that_is_not_above() -> None:
    assert HEADS.outer is not None
    assert "something is shared" in refused(per_unit(HEADS, OTHER.atom, 3))
    assert "something is shared" in refused(per_unit(CHANNELS, HEADS.outer, 3))


def test_every_outer_unit_needs_its_row() -> None:
    assert HEADS.outer is not None
    assert "2 rows of units for 3" in refused(per_unit(HEADS, HEADS.outer, 2))


def test_an_axis_of_another_program_is_refused() -> None:
    stranger = find_structures(small_program()).structures[0]
    assert "does not offer" in refused({stranger.atom: np.array([0])})


def test_fewer_experts_than_are_chosen_for_a_token_are_refused() -> None:
    program = architecture_program("mixtral")
    coupling = find_structures(program)
    experts = coupling.of_kind("expert")[0]
    assert experts.least == 2
    with pytest.raises(CutError, match="at least 2 must"):
        cut_program(program, coupling, {experts.atom: np.array([0])})


@pytest.mark.parametrize("keep", [np.zeros(96, dtype=np.int64), np.arange(96) + 5, np.arange(97)])
def test_as_many_entries_as_units_are_no_excuse(keep: Indices) -> None:
    assert CHANNELS.name in refused({CHANNELS.atom: keep})


def test_rows_of_unequal_length_are_refused() -> None:
    assert HEADS.outer is not None
    ragged = np.array([[0, 1], [1], [0]], dtype=object)
    assert HEADS.name in refused({HEADS.atom: PerUnit(HEADS.outer, ragged)})


def test_an_operator_without_a_rule_is_named_with_what_it_refuses() -> None:
    program = through(lambda b, h: b.call(aten.special_erfcx.default, h))
    coupling = find_structures(program)
    assert not coupling.of_kind("ffn-channel")
    reasons = [r.refusal for r in coupling.refusals if r.size == 8]
    assert {r.node for r in reasons} == {"special_erfcx_default"}
    assert all("aten.special_erfcx.default has no rule" in r.reason for r in reasons)
    with pytest.raises(CutError, match="does not offer"):
        cut_program(program, coupling, {next(leaves(coupling.weight_axes["start.up"][0])): FIRST})


def test_a_size_that_depends_on_data_is_refused_by_the_node_that_makes_it() -> None:
    def pick_rows(b: Builder, h: Node) -> Node:
        positive = b.call(aten.gt.Scalar, b.call(aten.select.int, h, 1, 0), 0.0)
        rows = b.call(aten.squeeze.dim, b.call(aten.nonzero.default, positive), 1)
        return b.call(aten.index_select.default, h, 0, rows)

    program = through(pick_rows)
    graph = str(program.main.graph)
    with pytest.raises(ProgramError, match=r"nonzero.*depends on values"):
        find_structures(program)
    assert str(program.main.graph) == graph


def test_a_plan_for_another_model_is_refused() -> None:
    cut = Cut(CHANNELS.name, CHANNELS.kind, 0, CHANNELS.size, (0, 1))
    plan = Plan((cut,), fingerprint="0123456789abcdef")
    context = Context(plan=plan)
    with pytest.raises(PassError, match="made for a program with the fingerprint 0123456789abcdef"):
        RemoveStructures().apply(PROGRAM, context)
