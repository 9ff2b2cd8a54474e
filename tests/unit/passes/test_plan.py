from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir.selection import PerUnit
from prunec.passes.plan import Cut, Plan, PlanError, load_plan, save_plan
from support.models import small_program

PROGRAM = small_program()
COUPLING = find_structures(PROGRAM)
FIRST = COUPLING.structures[0]
UNIT = Cut(FIRST.name, FIRST.kind, FIRST.index, FIRST.size, (0,))

cuts = st.builds(
    Cut,
    st.text(),
    st.sampled_from(["head", "ffn-channel"]),
    st.integers(0, 99),
    st.integers(1, 99),
    st.lists(st.integers(0, 98), unique=True).map(lambda k: tuple(sorted(k))),
)


@given(st.builds(Plan, st.lists(cuts).map(tuple), st.text(), st.dictionaries(st.text(), st.text())))
def test_plan_and_json_round_trip(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan


def test_plan_and_file_round_trip(tmp_path: Path) -> None:
    plan = Plan((UNIT,), PROGRAM.fingerprint(), {"keep": 0.5})
    save_plan(plan, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (replace(UNIT, structure="nothing"), "no structure nothing"),
        (replace(UNIT, size=99), "the plan expects 99"),
        (replace(UNIT, keep=()), "leaves 0"),
        (replace(UNIT, keep=(1, 0)), "ascending"),
        (replace(UNIT, keep=(0, 99)), "below"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(cut: Cut, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Plan((cut,), PROGRAM.fingerprint()).selection(PROGRAM, COUPLING)


def test_a_plan_for_another_model_is_refused() -> None:
    with pytest.raises(PlanError, match="made for a program with the fingerprint abc"):
        Plan((UNIT,), "abc").selection(PROGRAM, COUPLING)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}'])
def test_a_damaged_plan_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(PlanError):
        load_plan(tmp_path / "plan.json")


def test_units_chosen_apart_for_each_group_survive_json_and_become_a_selection() -> None:
    heads = COUPLING.of_kind("query-head-in-group")[0]
    assert heads.outer is not None
    cut = Cut(heads.name, heads.kind, heads.index, heads.size, ((0,), (1,), (0,)))
    plan = Plan((cut,), PROGRAM.fingerprint())
    assert Plan.from_json(plan.to_json()) == plan
    chosen = plan.selection(PROGRAM, COUPLING)[heads.atom]
    assert isinstance(chosen, PerUnit)
    assert chosen.outer is heads.outer
    assert chosen.table.tolist() == [[0], [1], [0]]


@pytest.mark.parametrize(
    ("keep", "message"),
    [(((0,), (1,)), "2 rows of units for 3"), (((0,), (0, 1), (0,)), "as many units as")],
)
def test_rows_that_do_not_fit_the_outer_units_are_refused(keep: Any, message: str) -> None:
    heads = COUPLING.of_kind("query-head-in-group")[0]
    plan = Plan((Cut(heads.name, heads.kind, 0, heads.size, keep),), PROGRAM.fingerprint())
    with pytest.raises(PlanError, match=message):
        plan.selection(PROGRAM, COUPLING)
