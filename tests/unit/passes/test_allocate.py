from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import Score
from prunec.passes.contract import Context, PassError
from prunec.passes.plan import Allocate, Plan
from prunec.passes.surgery import RemoveStructures
from support.models import small_program

PROGRAM = small_program()


def planned(allocate: Allocate) -> Plan:
    context = Context()
    Score("magnitude").apply(PROGRAM, context)
    allocate.apply(PROGRAM, context)
    assert context.plan is not None
    return context.plan


@settings(max_examples=15, deadline=None)
@given(keep=st.floats(0.5, 1.0))
def test_the_budget_is_met_to_one_unit(keep: float) -> None:
    context = Context(plan=planned(Allocate(keep, multiple=1)))
    after = RemoveStructures().apply(PROGRAM, context)
    block = measure(PROGRAM).block_parameters
    unit = min(s.parameters_per_unit for s in find_structures(PROGRAM).structures)
    wanted = block - round((1 - keep) * block)
    kept = measure(after).block_parameters
    # Whole KV groups are rounded first and may alone exceed a small budget.
    group = max(s.parameters_per_unit for s in find_structures(PROGRAM).of_kind("kv-group"))
    assert wanted - 2 * group <= kept <= wanted
    if kept < wanted - unit:
        assert all(len(c.keep) == c.size for c in context.plan.cuts if c.kind == "ffn-channel")


def test_layers_differ_by_one_group_of_units_at_most() -> None:
    widths = [len(c.keep) for c in planned(Allocate(0.7)).cuts if c.kind == "ffn-channel"]
    assert max(widths) - min(widths) in (0, 8)


def test_keeping_all_cuts_nothing() -> None:
    context = Context(plan=planned(Allocate(1.0)))
    assert RemoveStructures().apply(PROGRAM, context) is PROGRAM


def test_more_budget_keeps_a_superset() -> None:
    plans = [planned(Allocate(keep)) for keep in (0.5, 0.7, 0.9)]
    for less, more in pairwise(plans):
        for a, b in zip(less.cuts, more.cuts, strict=True):
            assert set(a.keep) <= set(b.keep)


def test_an_impossible_budget_says_what_would_help() -> None:
    with pytest.raises(PassError, match=r"cannot be reached.*Raise keep, lower floor"):
        planned(Allocate(0.05, kinds=("ffn-channel",)))


def test_a_kind_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(PassError, match=r"expert.*ffn-channel"):
        Score("magnitude", kinds=("expert",)).apply(PROGRAM, Context())


def test_allocating_without_scores_says_so() -> None:
    with pytest.raises(PassError, match="put a score pass before"):
        Allocate().apply(PROGRAM, Context())
