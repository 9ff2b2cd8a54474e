from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir import Program, cast, execute, language_feeds
from prunec.passes.ir.staged import StagedRun
from prunec.passes.plan import Cut, Plan
from prunec.passes.repair import Refit
from prunec.passes.repair.narrowed import narrowed_contractions
from prunec.passes.surgery import cut_program
from support.cuts import TOKENS, after_cut, cut
from support.layer_inputs import layer_inputs
from support.models import small_program
from support.oracle import relative_error

PROGRAM = small_program(torch.float64)
# The ridge pulls a little towards the unrepaired weight; without it only rounding is left.
TINY_RIDGE = 1e-12
DUPLICATE_COST = 1e-6
HALF_ROUNDING = 2**-8  # a weight is off by half of that where it is written as bfloat16
SAME_SOLUTION = 1e-5  # of two solvers, one of which squares the condition number


def node_that_reads(program: Program, weight: str) -> str:
    (found,) = (node for node, name in program.main.weight_nodes() if name == weight)
    return next(iter(found.users)).name


def error(program: Program) -> float:
    feeds = language_feeds(program.main, TOKENS)
    expected = execute(PROGRAM, language_feeds(PROGRAM.main, TOKENS))["logits"]
    return float((execute(program, feeds)["logits"] - expected).square().mean())


@pytest.mark.parametrize("kind", ["ffn-channel", "kv-group"])
def test_a_refit_brings_the_outputs_closer_to_the_uncut_program(kind: str) -> None:
    after, context = cut(PROGRAM, kind, slice(0, -1) if kind == "kv-group" else slice(0, 70))
    refitted = Refit().apply(after, context)
    assert error(refitted) < 0.8 * error(after)


def test_a_refit_without_a_cut_returns_the_same_object() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(None))
    assert after is PROGRAM
    assert Refit().apply(after, context) is PROGRAM


def test_removing_a_duplicated_channel_costs_nothing_after_the_refit() -> None:
    doubled = dict(PROGRAM.weights)
    for name, weight in PROGRAM.weights.items():
        if "gate_proj" in name or "up_proj" in name:
            doubled[name] = torch.cat([weight[:48], weight[:48]])
    original = PROGRAM.with_weights(doubled)
    after, context = cut(original, "ffn-channel", slice(0, 48))
    refitted = Refit(ridge=TINY_RIDGE).apply(after, context)
    expected = execute(original, language_feeds(original.main, TOKENS))["logits"]
    found = execute(refitted, language_feeds(refitted.main, TOKENS))["logits"]
    assert relative_error(found, expected) < DUPLICATE_COST


def test_only_layers_that_lost_inputs_are_refitted() -> None:
    _, context = cut(PROGRAM, "ffn-channel", slice(0, 70))
    names = [
        layer.contraction.weight
        for layer in narrowed_contractions(context.require_cut("a test"), context)
    ]
    assert len(names) == 2
    assert all("down_proj" in name for name in names)


def test_with_too_little_text_it_says_so_and_moves_the_weights_less() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 70))
    few = replace(context, calibration=TOKENS[:1, :10], notice=(said := []).append)
    refitted = Refit().apply(after, few)
    assert [
        n for n in said if "70 inputs and the calibration text 10 tokens: the ridge is 7.0" in n
    ]
    assert len(said) == 2
    enough = Refit().apply(after, context)
    for layer in narrowed_contractions(context.require_cut("a test"), context):
        name = layer.contraction.weight
        moved, more = (p.weights[name] - after.weights[name] for p in (refitted, enough))
        assert torch.isfinite(moved).all()
        assert 0 < moved.norm() < more.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_is_refitted_with_sums_that_are_not(dtype: torch.dtype) -> None:
    program = cast(small_program(), dtype)
    after, context = cut(program, "ffn-channel", slice(0, 70))
    layer = narrowed_contractions(context.require_cut("a test"), context)[0]
    refitted = Refit().apply(after, context).weights[layer.contraction.weight]
    x = layer_inputs(program, layer.contraction.weight, TOKENS).double()
    whole = program.weights[layer.contraction.weight].double()
    kept = x[:, layer.stays]
    gram, lost = kept.T @ kept, x[:, layer.goes] @ whole[:, layer.goes].T
    gram.diagonal().add_(0.001 * gram.diagonal().mean())
    expected = whole[:, layer.stays] + torch.linalg.solve(gram, kept.T @ lost).T
    assert refitted.dtype == dtype
    assert relative_error(refitted.double(), expected) < HALF_ROUNDING


def test_a_later_layer_is_fitted_on_what_the_refitted_layers_before_it_produce() -> None:
    # Half of the layers' own loss: fitting on the uncut inputs instead would miss it.
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 40))
    refitted = Refit(ridge=TINY_RIDGE).apply(after, context)
    layer = narrowed_contractions(context.require_cut("a test"), context)[1].contraction
    second = layer.node.name
    run = StagedRun(refitted, refitted.main, [language_feeds(refitted.main, TOKENS)], [second])
    x = run.operand(run.advance(second, 0), 0, 0).flatten(0, -2)
    masked = dict(PROGRAM.weights)
    first = next(n for n in masked if "layers.0.mlp.down_proj" in n)
    masked[first] = torch.zeros_like(masked[first])
    masked[first][:, :40] = refitted.weights[first]
    whole = PROGRAM.with_weights(masked)
    run = StagedRun(whole, whole.main, [language_feeds(whole.main, TOKENS)], [second])
    wanted = run.peek(run.advance(second, 0), 0).flatten(0, -2)
    expected = torch.linalg.lstsq(x, wanted).solution.T
    assert relative_error(refitted.weights[layer.weight], expected) < SAME_SOLUTION


def test_a_layer_behind_a_dropped_one_is_fitted_on_what_the_cut_program_gives_it() -> None:
    coupling = find_structures(PROGRAM)
    (branches,) = coupling.of_kind("layer")
    channels = coupling.of_kind("ffn-channel")[1]
    cuts = (
        Cut(branches.name, branches.kind, branches.index, branches.size, (0, 2, 3)),
        Cut(channels.name, channels.kind, channels.index, channels.size, tuple(range(40))),
    )
    plan = Plan(cuts, PROGRAM.fingerprint())
    after = cut_program(PROGRAM, coupling, plan.selection(PROGRAM, coupling))
    context = after_cut(PROGRAM, after, plan)
    (layer,) = narrowed_contractions(context.require_cut("a test"), context)
    refitted = Refit(ridge=TINY_RIDGE).apply(after, context)
    feeds = language_feeds(after.main, TOKENS)
    name = node_that_reads(after, layer.contraction.weight)
    run = StagedRun(after, after.main, [feeds], [name])
    x = run.operand(run.advance(name, 0), 0, 0).flatten(0, -2)
    gone = [n for n in PROGRAM.weights if n not in after.weights]
    assert gone
    whole = PROGRAM.with_weights({n: torch.zeros_like(PROGRAM.weights[n]) for n in gone})
    name = layer.contraction.node.name
    run = StagedRun(whole, whole.main, [feeds], [name])
    wanted = run.peek(run.advance(name, 0), 0).flatten(0, -2)
    expected = torch.linalg.lstsq(x, wanted).solution.T
    assert relative_error(refitted.weights[layer.contraction.weight], expected) < SAME_SOLUTION
