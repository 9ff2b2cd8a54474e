"""`score{inputs=pruned}`: layers are measured on what a plan leaves of the layers before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prunec.passes.analysis.coupling import Structure, find_structures
from prunec.passes.analysis.importance import CRITERIA, Score, Scores
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program
from prunec.passes.manager import PipelineError, run_pipeline
from prunec.passes.plan import Cut, Plan
from prunec.passes.repair.narrowed import narrowed_contractions
from prunec.passes.spec import parse_pipeline
from support.layer_inputs import layer_inputs
from support.models import random_tokens, small_program

PROGRAM = small_program(torch.float64)
COUPLING = find_structures(PROGRAM)
TOKENS = random_tokens(4, 30)
KINDS = ("kv-group", "ffn-channel")
OF_UNITS = (
    "activation", "wanda", "flap", "leverage", "obs", "obs-greedy", "obs-fisher",
)  # fmt: skip
OF_WEIGHTS = ("magnitude", "taylor", "taylor-second", "taylor-mixed", "taylor-vector", "saap")
DOWN, OUT = "model.layers.{}.mlp.down_proj.weight", "model.layers.{}.self_attn.o_proj.weight"
GROUPS, CHANNELS = COUPLING.of_kind("kv-group"), COUPLING.of_kind("ffn-channel")
(LAYERS,) = COUPLING.of_kind("layer")
GROUP_INPUTS = 32  # two query heads of 16


def planned(*cuts: tuple[Structure, Iterable[int]]) -> Plan:
    return Plan(
        tuple(Cut(s.name, s.kind, s.index, s.size, tuple(keep)) for s, keep in cuts),
        PROGRAM.fingerprint(),
    )


PLAN = planned(
    (GROUPS[0], (0, 2)), (GROUPS[1], (1,)), (CHANNELS[0], range(40)), (CHANNELS[1], range(9, 50))
)
WHOLE = planned(*((s, range(s.size)) for s in (*GROUPS, *CHANNELS, LAYERS)))
WITHOUT_ATTENTION = planned((LAYERS, (0, 1, 3)))  # that of the second layer


def scored(score: Score, plan: Plan | None, cache: Path | None = None) -> tuple[Scores, int]:
    """The scores, and how many times something was measured for them."""
    measured: list[str] = []

    def progress(items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
        measured.append(title)
        yield from items

    context = Context(calibration=TOKENS, plan=plan, cache=cache, progress=progress)
    assert score.apply(PROGRAM, context) is PROGRAM
    assert context.scores is not None
    assert context.plan is plan
    return context.scores, len(measured)


def of(criterion: str, plan: Plan, *kinds: str) -> dict[str, torch.Tensor]:
    return dict(scored(Score(criterion, kinds or KINDS, "pruned"), plan)[0].by_structure)


BEFORE_DOWN_1 = (
    (OUT.format(0), slice(GROUP_INPUTS, 2 * GROUP_INPUTS)),
    (DOWN.format(0), slice(40, None)),
    (OUT.format(1), slice(0, GROUP_INPUTS)),
    (OUT.format(1), slice(2 * GROUP_INPUTS, None)),
)


def by_hand(*weights: tuple[str, slice]) -> Program:
    """The program with these columns of these weights at zero."""
    program = PROGRAM
    for name, columns in weights:
        weight = program.weights[name].clone()
        weight[:, columns] = 0
        program = program.with_weights({name: weight})
    return program


@pytest.mark.parametrize("criterion", OF_UNITS)
def test_a_plan_that_keeps_everything_gives_the_scores_of_dense_inputs(criterion: str) -> None:
    dense = scored(Score(criterion, KINDS), None)[0].by_structure
    found = of(criterion, WHOLE)
    assert found.keys() == dense.keys()
    assert all(torch.equal(found[name], dense[name]) for name in dense)


def test_branches_are_scored_as_on_dense_inputs_where_everything_stays() -> None:
    dense = scored(Score("block-influence", ("layer",)), None)[0].by_structure
    assert torch.equal(of("block-influence", WHOLE, "layer")[LAYERS.name], dense[LAYERS.name])


def test_a_layer_is_given_what_the_layers_before_it_return_without_their_removed_units() -> None:
    found = of("activation", PLAN)
    inputs = layer_inputs(by_hand(*BEFORE_DOWN_1), DOWN.format(1), TOKENS)
    assert torch.allclose(found[CHANNELS[1].name], inputs.norm(dim=0))
    dense = layer_inputs(PROGRAM, DOWN.format(1), TOKENS)
    assert not torch.allclose(found[CHANNELS[1].name], dense.norm(dim=0), rtol=0.01)


def test_a_layer_s_own_units_are_all_there_and_its_weights_whole() -> None:
    found = of("wanda", PLAN)
    inputs = layer_inputs(by_hand(*BEFORE_DOWN_1[:2]), OUT.format(1), TOKENS)
    weighed = inputs.norm(dim=0) * PROGRAM.weights[OUT.format(1)].norm(dim=0)
    expected = weighed.view(-1, GROUP_INPUTS).norm(dim=1)
    assert torch.allclose(found[GROUPS[1].name], expected)


def test_the_first_layer_is_given_what_it_always_is() -> None:
    dense = scored(Score("obs", KINDS), None)[0].by_structure
    assert torch.equal(of("obs", PLAN)[GROUPS[0].name], dense[GROUPS[0].name])


@pytest.mark.parametrize("plan", [PLAN, WITHOUT_ATTENTION], ids=["units", "branch"])
@pytest.mark.parametrize("criterion", OF_UNITS)
def test_every_unit_has_a_score_also_those_that_the_plan_removes(
    criterion: str, plan: Plan
) -> None:
    found = of(criterion, plan)
    for structure in (*GROUPS, *CHANNELS):
        assert found[structure.name].shape == (structure.size,)
        assert torch.isfinite(found[structure.name]).all()
        # Zeros raised by one bit at a time would be an order without a meaning.
        assert (found[structure.name] > 1e-12).all()


def test_only_what_is_kept_feeds_kinds_that_are_not_scored_now() -> None:
    found = of("activation", PLAN, "ffn-channel")
    assert found.keys() == {s.name for s in CHANNELS}
    assert torch.equal(found[CHANNELS[1].name], of("activation", PLAN)[CHANNELS[1].name])


def test_behind_a_dropped_branch_a_layer_is_given_the_stream_without_it() -> None:
    found = of("activation", WITHOUT_ATTENTION)
    without = by_hand((OUT.format(1), slice(None)))
    inputs = layer_inputs(without, DOWN.format(1), TOKENS)
    assert torch.allclose(found[CHANNELS[1].name], inputs.norm(dim=0))
    # In the branch itself nothing is at zero.
    own = layer_inputs(PROGRAM, OUT.format(1), TOKENS).norm(dim=0).view(-1, GROUP_INPUTS)
    assert torch.allclose(found[GROUPS[1].name], own.norm(dim=1))


def test_a_dropped_branch_is_scored_by_what_it_would_add() -> None:
    dense = scored(Score("block-influence", ("layer",)), None)[0].by_structure[LAYERS.name]
    found = of("block-influence", WITHOUT_ATTENTION, "layer")[LAYERS.name]
    # It is given the same stream as before, and the branch after it another one.
    assert torch.allclose(found[:3], dense[:3])
    assert abs(float(found[3] - dense[3])) > 1e-6


TWICE = (
    "score{criterion=wanda},allocate{keep=0.7 multiple=1},score{criterion=CRITERION inputs=pruned},"
    "allocate{keep=0.7 multiple=1}"
)


@pytest.mark.parametrize("criterion", ["wanda", "obs-fisher"])
def test_a_pipeline_as_text_decides_again_on_pruned_inputs_and_cuts(criterion: str) -> None:
    text = TWICE.replace("CRITERION", criterion)
    context = Context(calibration=TOKENS)
    after = run_pipeline(PROGRAM, parse_pipeline(f"{text},remove-structures,refit"), context)
    once = Context(calibration=TOKENS)
    run_pipeline(PROGRAM, parse_pipeline(text.split(",score")[0]), once)
    assert context.plan is not None
    assert once.plan is not None
    assert context.plan.cuts != once.plan.cuts
    assert narrowed_contractions(context.require_cut("a test"), context)
    parameters = [sum(w.numel() for w in p.parameters().values()) for p in (after, PROGRAM)]
    assert parameters[0] < parameters[1]


@pytest.mark.parametrize("criterion", OF_WEIGHTS)
def test_criteria_that_measure_no_inputs_name_those_that_do(criterion: str) -> None:
    with pytest.raises(ValueError, match=rf"criterion={criterion} is none: choose .*'wanda'"):
        Score(criterion, KINDS, "pruned")
    assert {*OF_WEIGHTS, *OF_UNITS, "block-influence"} == CRITERIA.keys()


def test_other_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"inputs='sparse': choose one of \('dense', 'pruned'\)"):
        Score("wanda", KINDS, "sparse")


def test_without_a_plan_it_says_what_to_put_before_it() -> None:
    with pytest.raises(PassError, match="has none yet: put score,allocate before it"):
        Score("wanda", KINDS, "pruned").apply(PROGRAM, Context(calibration=TOKENS))


def test_a_plan_of_another_program_is_refused() -> None:
    context = Context(calibration=TOKENS, plan=replace(PLAN, fingerprint="another"))
    with pytest.raises(PassError, match="before its cut: the plan was made for a program with"):
        Score("wanda", KINDS, "pruned").apply(PROGRAM, context)


def test_after_the_cut_it_is_too_late() -> None:
    late = parse_pipeline("score,allocate,remove-structures,score{inputs=pruned}")
    with pytest.raises(PipelineError, match="for the program of the plan, before its cut"):
        run_pipeline(PROGRAM, late, Context(calibration=TOKENS))


def test_a_plan_that_removes_what_no_linear_layer_alone_sums_over_is_refused() -> None:
    (residual,) = COUPLING.of_kind("residual")
    plan = planned((residual, range(residual.size - 1)))
    with pytest.raises(PassError, match=r"\(residual\), which .* reads together"):
        scored(Score("wanda", KINDS, "pruned"), plan)


def test_stored_scores_are_those_of_what_the_plan_leaves(tmp_path: Path) -> None:
    score = Score("wanda", KINDS, "pruned")
    first, measured = scored(score, PLAN, tmp_path)
    assert measured == 1
    # Reasons, and structures that stay whole, make no other selection.
    same = planned(*((s, c.keep) for s, c in zip((*GROUPS, *CHANNELS), PLAN.cuts, strict=True)))
    same = replace(same, cuts=(*same.cuts, WHOLE.cuts[-1]), reasons={"seed": 1})
    again, measured = scored(score, same, tmp_path)
    assert measured == 0
    assert all(torch.equal(v, again.by_structure[n]) for n, v in first.by_structure.items())
    other = replace(PLAN, cuts=PLAN.cuts[:-1])
    assert scored(score, other, tmp_path)[1] == 1
    assert scored(Score("wanda", KINDS), PLAN, tmp_path)[1] == 1
    assert scored(score, WHOLE, tmp_path)[1] == 1
