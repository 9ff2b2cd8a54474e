"""The methods of allocation and their limits, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import Scores
from prunec.passes.contract import Context, PassError
from prunec.passes.plan import Allocate, Plan
from prunec.passes.plan.allocation.standardise import STANDARDS
from prunec.passes.spec import SpecError, parse_pipeline
from support.architectures import architecture_program
from support.models import small_program

PROGRAM = small_program()
COUPLING = find_structures(PROGRAM)
LAYER = COUPLING.of_kind("layer")[0].name
FFN = [s.name for s in COUPLING.of_kind("ffn-channel")]
KV = [s.name for s in COUPLING.of_kind("kv-group")]


def ascending(changes: Mapping[str, Any] | None = None) -> Scores:
    """Scores that grow with the unit's place, the same in every layer."""
    scores = {s.name: torch.arange(1.0, s.size + 1).double() for s in COUPLING.structures}
    return Scores("ascending", scores | {n: v.double() for n, v in (changes or {}).items()}, scores)


def planned(allocate: Allocate, scores: Scores) -> Plan:
    context = Context(scores=scores)
    allocate.apply(PROGRAM, context)
    assert context.plan is not None
    return context.plan


def counts(plan: Plan, kind: str) -> list[int]:
    return [c.kept_count for c in plan.cuts if c.kind == kind]


def test_without_a_budget_three_quarters_of_the_blocks_stay() -> None:
    (budget,) = planned(Allocate(), ascending()).reasons["budgets"]
    assert (budget["budget"], budget["asked"]) == ("keep", 0.75)
    assert 0.7 < budget["reached"] <= 0.75


def test_channels_of_experts_stay_in_multiples_as_those_of_other_feed_forwards() -> None:
    program = architecture_program("llama4")
    scores = {
        s.name: torch.arange(1.0, s.size + 1).double() for s in find_structures(program).structures
    }
    context = Context(scores=Scores("ascending", scores))
    Allocate(0.5).apply(program, context)
    assert context.plan is not None
    widths = counts(context.plan, "expert-channel") + counts(context.plan, "ffn-channel")
    assert len(widths) == 4
    assert all(width % 8 == 0 and width < 56 for width in widths)


def test_a_cache_budget_alone_cuts_only_what_the_cache_holds() -> None:
    plan = planned(Allocate(kv_bytes=0.67), ascending())
    assert counts(plan, "kv-group") == [2, 2]
    assert counts(plan, "ffn-channel") == [96, 96]


def test_a_cache_budget_beside_another_leaves_that_one_exact() -> None:
    plan = planned(Allocate(0.9, kv_bytes=0.5, multiple=1), ascending())
    assert counts(plan, "kv-group") == [1, 2]  # three of six, not the rounded two of every three
    assert [b["budget"] for b in plan.reasons["budgets"]] == ["keep", "kv_bytes"]
    assert all(b["reached"] <= b["asked"] for b in plan.reasons["budgets"])


def test_reasons_tell_the_method_its_options_and_the_counts() -> None:
    plan = planned(Allocate(0.8, method="global", standardise="mean"), ascending())
    assert plan.reasons["criterion"] == "ascending"
    assert plan.reasons["method"] == "global"
    assert plan.reasons["options"] == {"standardise": "mean", "kind_weights": []}
    assert plan.reasons["units"] == {c.structure: [c.kept_count, c.size] for c in plan.cuts}
    assert Plan.from_json(plan.to_json()) == plan


def test_global_takes_from_the_layer_whose_scores_are_low() -> None:
    low = ascending({FFN[0]: torch.linspace(0, 0.5, 96)})
    plan = planned(Allocate(0.8, ("ffn-channel",), method="global", standardise="none"), low)
    assert counts(plan, "ffn-channel") == [16, 96]
    even = planned(Allocate(0.8, ("ffn-channel",), method="global", standardise="rank"), low)
    assert abs(counts(even, "ffn-channel")[0] - counts(even, "ffn-channel")[1]) <= 8


def test_losses_are_weighed_by_what_a_unit_saves() -> None:
    per_group = COUPLING.of_kind("kv-group")[0].parameters_per_unit
    per_channel = COUPLING.of_kind("ffn-channel")[0].parameters_per_unit
    ratio = per_group / per_channel
    for factor, expected in ((0.9, [2, 2]), (1.1, [3, 3])):
        equal = {n: torch.ones(96) for n in FFN} | {
            n: torch.tensor([factor * ratio, 9999, 9999]) for n in KV
        }
        allocate = Allocate(0.8, method="global", standardise="none", multiple=1)
        assert counts(planned(allocate, ascending(equal)), "kv-group") == expected


@pytest.mark.parametrize("standardise", ["none", "mean", "rank", "z-score"])
def test_a_kind_of_more_weight_loses_less(standardise: str) -> None:
    allocate = Allocate(0.7, method="global", standardise=standardise)
    dear = replace(allocate, kind_weights=("kv-group=5000",))
    cheap = replace(allocate, kind_weights=("kv-group=0.001",))
    kept = [sum(counts(planned(a, ascending()), "kv-group")) for a in (cheap, allocate, dear)]
    assert kept == sorted(kept)
    assert kept[0] < kept[2]


def test_blocks_of_less_influence_give_more() -> None:
    scores = ascending({LAYER: torch.tensor([0.5, 0.5, 0.1, 0.1])})
    allocate = Allocate(0.8, ("ffn-channel",), multiple=1, method="block-influence")
    soft = counts(planned(replace(allocate, temperature=1.0), scores), "ffn-channel")
    sharp = counts(planned(replace(allocate, temperature=0.3), scores), "ffn-channel")
    assert soft[0] > soft[1]
    assert sharp[0] > soft[0]
    even = counts(planned(replace(allocate, temperature=1e6), scores), "ffn-channel")
    assert max(even) - min(even) <= 1
    assert sum(even) == sum(soft) == sum(sharp)


def test_rates_follow_the_softmax_of_the_influence() -> None:
    scores = ascending({LAYER: torch.tensor([0.0, 0.3, 0.0, 0.1])})
    allocate = Allocate(0.85, ("ffn-channel",), 1, method="block-influence", temperature=0.5)
    lost = [96 - c for c in counts(planned(allocate, scores), "ffn-channel")]
    speeds = torch.softmax(-torch.tensor([0.3, 0.1]) / 0.5, 0)
    assert lost[0] / lost[1] == pytest.approx(float(speeds[0] / speeds[1]), abs=0.05)


def test_units_that_move_much_go_first() -> None:
    steady = {s.name: torch.ones(s.size) for s in COUPLING.structures}
    scores = Scores("equal", steady, ascending().fluctuation)
    plan = planned(Allocate(0.8, ("ffn-channel",), method="stability"), scores)
    for cut in plan.cuts:
        assert cut.keep == tuple(range(cut.kept_count))  # fluctuation grows with the place
    reverse = planned(Allocate(0.8, ("ffn-channel",), method="stability", eta=-1.0), scores)
    assert all(95 in cut.keep for cut in reverse.cuts)


def test_importance_alone_needs_no_fluctuation() -> None:
    scores = replace(ascending(), fluctuation=None)
    planned(Allocate(0.8, method="stability", eta=0.0), scores)
    with pytest.raises(PassError, match="4 structures lack that"):
        planned(Allocate(0.8, method="stability"), scores)


def test_influence_without_scores_of_layers_says_so() -> None:
    scores = ascending()
    less = Scores("no layers", {n: s for n, s in scores.by_structure.items() if n != LAYER})
    with pytest.raises(PassError, match="scores of the kind layer"):
        planned(Allocate(0.8, method="block-influence"), less)


def test_whole_branches_can_compete_with_units() -> None:
    scores = ascending({LAYER: torch.tensor([9, 9, -100, 9])})
    plan = planned(Allocate(0.8, ("layer", "ffn-channel"), method="global"), scores)
    (layers,) = [c for c in plan.cuts if c.kind == "layer"]
    assert layers.keep == (0, 1, 3)


def test_only_branches_with_a_cache_go_for_a_cache_budget() -> None:
    scores = ascending({LAYER: torch.tensor([5, 0, 6, 0])})
    plan = planned(Allocate(kinds=("layer",), kv_bytes=0.5, method="global"), scores)
    assert plan.cuts[0].keep == (1, 2, 3)


@pytest.mark.parametrize(
    ("allocate", "message"),
    [
        (Allocate(0.05), r"keep=0\.05 asks for 3,468 of 69,360 block parameters, and .*Raise keep"),
        (Allocate(0.9, kv_bytes=0.1), r"kv_bytes=0\.1 asks for 77 of 768 bytes of cache.*0\.3334"),
        (Allocate(0.2, kv_bytes=0.1), r"keep=.*; kv_bytes=.*Raise keep and kv_bytes"),
        (Allocate(kinds=("ffn-channel",), kv_bytes=0.9), r"add kinds.*also has kv-group"),
        (Allocate(0.6, protect=("0", "1")), r"69,360 \(keep=1\.0\) is the least.*relax protect"),
        (Allocate(protect=("7",)), r"protect=7: the layers are 0 to 1"),
        (Allocate(protect=("ffn",)), r"protect names 'ffn'"),
        (Allocate(multiples=("ffn=8",)), r"multiples names 'ffn'.*ffn-channel"),
        (Allocate(ceilings=("kv-group=0.2",)), r"may keep 0 of its 3.*keep 1 at least"),
    ],
)
def test_what_cannot_be_is_refused_with_numbers(allocate: Allocate, message: str) -> None:
    with pytest.raises(PassError, match=message):
        planned(allocate, ascending())


def test_a_cache_budget_for_a_program_without_cache_is_refused() -> None:
    program = architecture_program("bert")
    context = Context()
    structures = context.analyse(find_structures, program).structures
    context.scores = Scores("ones", {s.name: torch.ones(s.size) for s in structures})
    with pytest.raises(PassError, match="bytes of cache per token, of which this program has none"):
        Allocate(kv_bytes=0.5).apply(program, context)


def test_scores_that_are_not_finite_are_refused() -> None:
    bad = ascending({FFN[1]: torch.full((96,), torch.nan)})
    with pytest.raises(PassError, match=rf"96 of 96 scores of {FFN[1]} are not finite"):
        planned(Allocate(), bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("method=best", r"choose one of \['block-influence', 'global', 'stability', 'uniform'\]"),
        ("standardise=mean", "standardise is an option of method=global"),
        ("eta=1", "eta is an option of method=stability"),
        ("method=global standardise=max", "choose one of"),
        ("method=global kind_weights=head=0", "weights are above 0"),
        ("method=block-influence temperature=0", "must be above 0"),
        ("kv_bytes=0", "kv_bytes=0.0 is not above 0"),
        ("floor=0.5 ceiling=0.4", "floor=0.5 is above ceiling=0.4"),
        ("floors=head", "'head' is not a kind or name with a number"),
        ("floors=head=2", "head=2 is no share"),
        ("multiples=head=1.5", "whole numbers"),
    ],
)
def test_impossible_options_are_refused_before_any_work(options: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_pipeline(f"allocate{{{options}}}")


def test_every_option_has_a_text_form() -> None:
    text = (
        "allocate{keep=0.7 kv_bytes=0.67 method=global multiples=ffn-channel=16+qk-dim=8 "
        "protect=0+-1 standardise=none kind_weights=kv-group=2.0}"
    )
    (step,) = parse_pipeline(text)
    assert step == Allocate(
        0.7,
        kv_bytes=0.67,
        method="global",
        multiples=("ffn-channel=16", "qk-dim=8"),
        protect=(0, -1),
        standardise="none",
        kind_weights=("kv-group=2.0",),
    )


@pytest.mark.parametrize("name", sorted(STANDARDS))
def test_standardised_scores_keep_their_order(name: str) -> None:
    scores = torch.rand(20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    standardised = STANDARDS[name](scores)
    assert torch.equal(standardised.argsort(), scores.argsort())
    constant = STANDARDS[name](torch.zeros(4, dtype=torch.float64))
    assert torch.isfinite(constant).all()
