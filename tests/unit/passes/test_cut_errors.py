"""Selections that cannot be cut are refused by name and reason, and nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from prunec.passes.analysis.coupling import Structure, find_structures
from prunec.passes.ir.axes import Atom
from prunec.passes.ir.selection import Kept, PerUnit
from prunec.passes.surgery import CutError, cut_program
from support.architectures import architecture_program
from support.models import small_program

PROGRAM = small_program()
COUPLING = find_structures(PROGRAM)
CHANNELS = COUPLING.of_kind("ffn-channel")[0]
HEADS = COUPLING.of_kind("query-head-in-group")[0]
OTHER = COUPLING.of_kind("kv-group")[1]


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
