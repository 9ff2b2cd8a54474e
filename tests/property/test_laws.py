"""The laws of the cut, on a small program in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prunec.frontend.export import trace_model
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import Coupling, find_structures
from prunec.passes.ir import Program, execute, language_feeds, verify
from prunec.passes.ir.selection import Selection
from prunec.passes.plan import Cut, Plan
from prunec.passes.surgery import cut_program
from support.architectures import random_feeds
from support.models import random_tokens, small_model, small_program
from support.oracle import cache_law_error, law_error
from support.strategies import selections

# float64 rounding through two layers of width 64; a wrong cut is off by more than 1e-3.
ROUNDING = 1e-11
KINDS = ("kv-group", "query-head-in-group", "ffn-channel", "qk-dim", "vo-dim", "residual")

PROGRAM = small_program(torch.float64)
COUPLING = find_structures(PROGRAM)
TOKENS = random_tokens(2, 10)
# Dropping a whole branch takes its other structures along: test_architectures covers it.
PARTS = [s for s in COUPLING.structures if s.kind != "layer"]
FEEDS = random_feeds(PROGRAM.main, seed=0, past=3)
laws = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def first_units(coupling: Coupling, kind: str, count: int) -> Selection:
    return {s.atom: np.arange(min(count, s.size)) for s in coupling.of_kind(kind)}


def bill(program: Program) -> dict[str, int]:
    return measure(program).to_json()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_structure_is_offered(kind: str) -> None:
    assert COUPLING.of_kind(kind), kind


@pytest.mark.parametrize("kind", KINDS)
def test_one_unit_left_equals_mask(kind: str) -> None:
    assert law_error(PROGRAM, COUPLING, first_units(COUPLING, kind, 1), FEEDS) < ROUNDING


@laws
@given(selection=selections(PARTS))
def test_cut_equals_masked_original(selection: Selection) -> None:
    assert law_error(PROGRAM, COUPLING, selection, FEEDS) < ROUNDING


def test_keeping_every_unit_returns_the_same_object() -> None:
    everything = {s.atom: np.arange(s.size) for s in COUPLING.structures}
    assert cut_program(PROGRAM, COUPLING, everything) is PROGRAM


@laws
@given(data=st.data())
def test_cuts_compose(data: st.DataObject) -> None:
    selection = data.draw(selections(PARTS))
    names = {s.atom: s.name for s in COUPLING.structures}
    at_once = cut_program(PROGRAM, COUPLING, selection)
    one_by_one = PROGRAM
    for atom in data.draw(st.permutations(list(selection))):
        coupling = find_structures(one_by_one)
        structure = coupling.find(names[atom])
        assert structure is not None
        one_by_one = cut_program(one_by_one, coupling, {structure.atom: selection[atom]})
    assert (
        at_once.weights.keys() - at_once.buffers == one_by_one.weights.keys() - one_by_one.buffers
    )
    for name, weight in at_once.parameters().items():
        assert torch.equal(weight, one_by_one.weights[name])
    feeds = language_feeds(at_once.main, TOKENS)
    together = execute(at_once, feeds)["logits"]
    apart = execute(one_by_one, feeds)["logits"]
    assert torch.allclose(together, apart, rtol=ROUNDING, atol=ROUNDING)


@laws
@given(selection=selections(PARTS))
def test_the_bill_matches_for_a_single_structure(selection: Selection) -> None:
    atom, stays = next(iter(selection.items()))
    structure = next(s for s in COUPLING.structures if s.atom is atom)
    after = cut_program(PROGRAM, COUPLING, {atom: stays})
    gone = structure.size - len(stays)
    assert (
        bill(PROGRAM)["parameters"] - bill(after)["parameters"]
        == gone * structure.parameters_per_unit
    )
    assert (
        bill(PROGRAM)["kv_bytes_per_token"] - bill(after)["kv_bytes_per_token"]
        == gone * structure.kv_bytes_per_unit
    )


@laws
@given(selection=selections(PARTS))
def test_a_cut_program_is_valid_and_still_offers_its_structures(selection: Selection) -> None:
    after = cut_program(PROGRAM, COUPLING, selection)
    verify(after, PROGRAM)
    sizes = {s.name: s.size for s in find_structures(after).structures}
    for structure in PARTS:
        expected = len(selection.get(structure.atom, range(structure.size)))
        assert sizes.get(structure.name, 1) == expected


@pytest.mark.parametrize("first", [1, 4, 9])
@pytest.mark.parametrize("padding", [0, 3])
def test_cache_law_holds_before_and_after_a_cut(first: int, padding: int) -> None:
    mask = torch.ones_like(TOKENS)
    mask[0, :padding] = 0
    cut = cut_program(PROGRAM, COUPLING, first_units(COUPLING, "kv-group", 2))
    for program in (PROGRAM, cut):
        assert cache_law_error(program, TOKENS, mask, max(first, padding + 1)) < ROUNDING


def test_replaying_a_plan_on_a_fresh_checkpoint_gives_the_same_bits() -> None:
    cuts = tuple(
        Cut(s.name, s.kind, s.index, s.size, tuple(range(0, s.size, 2)))
        for s in COUPLING.of_kind("kv-group", "ffn-channel")
    )
    plan = Plan.from_json(Plan(cuts, PROGRAM.fingerprint()).to_json())
    results = []
    for _ in range(2):
        fresh = trace_model(small_model(), torch.float64)
        coupling = find_structures(fresh)
        results.append(cut_program(fresh, coupling, plan.selection(fresh, coupling)))
    for name, weight in results[0].weights.items():
        assert torch.equal(weight, results[1].weights[name])
