from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import CRITERIA, Score
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import execute, language_feeds
from support.models import random_tokens, small_program

PROGRAM = small_program(torch.float64)
COUPLING = find_structures(PROGRAM)
TOKENS = random_tokens(4, 30)  # more tokens than any layer has inputs
KINDS = ("kv-group", "ffn-channel")
OF_UNITS = sorted(name for name, found in CRITERIA.items() if not found.scores_branches)


def scores(criterion: str) -> dict[str, torch.Tensor]:
    context = Context(calibration=TOKENS)
    Score(criterion, KINDS).apply(PROGRAM, context)
    assert context.scores is not None
    return dict(context.scores.by_structure)


@pytest.mark.parametrize("criterion", OF_UNITS)
def test_every_unit_gets_a_finite_score(criterion: str) -> None:
    found = scores(criterion)
    for structure in COUPLING.of_kind(*KINDS):
        assert found[structure.name].shape == (structure.size,)
        assert torch.isfinite(found[structure.name]).all()
        assert (found[structure.name] > 0).all()


@pytest.mark.parametrize("criterion", OF_UNITS)
def test_scores_are_the_same_twice(criterion: str) -> None:
    first, second = scores(criterion), scores(criterion)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_magnitude_is_the_norm_of_all_weights_of_a_channel() -> None:
    structure = COUPLING.of_kind("ffn-channel")[0]
    gate, up, down = (PROGRAM.weights[m.weight] for m in structure.members)
    expected = (gate[5].square().sum() + up[5].square().sum() + down[:, 5].square().sum()).sqrt()
    assert torch.isclose(scores("magnitude")[structure.name][5], expected)


def test_activation_is_the_norm_of_what_the_down_projection_gets() -> None:
    # Zeroing a channel's gate makes its activation, and nothing else about it, zero.
    structure = COUPLING.of_kind("ffn-channel")[0]
    gate = structure.members[0].weight
    silent = PROGRAM.weights[gate].clone()
    silent[7] = 0
    context = Context(calibration=TOKENS)
    program = PROGRAM.with_weights({gate: silent})
    Score("activation", KINDS).apply(program, context)
    assert context.scores is not None
    found = context.scores.by_structure[structure.name]
    assert found[7] == 0
    assert torch.allclose(found[:7], scores("activation")[structure.name][:7])


def test_taylor_is_weight_times_gradient_of_the_loss() -> None:
    structure = COUPLING.of_kind("ffn-channel")[1]
    leaves = {
        m.weight: PROGRAM.weights[m.weight].detach().clone().requires_grad_(True)
        for m in structure.members
    }
    logits = execute(PROGRAM.with_weights(leaves), language_feeds(PROGRAM.main, TOKENS))["logits"]
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten(), reduction="sum")
    loss.backward()
    expected = torch.zeros(structure.size, dtype=torch.float64)
    for member in structure.members:
        weight = leaves[member.weight]
        assert weight.grad is not None
        expected += (weight * weight.grad).abs().sum(1 - member.dim).detach()
    # The pass accumulates over batches of windows, so sums are in another order.
    assert torch.allclose(scores("taylor")[structure.name], expected, rtol=1e-6)


def test_a_criterion_that_needs_text_says_so() -> None:
    with pytest.raises(PassError, match="criterion=activation needs calibration text"):
        Score("activation").apply(PROGRAM, Context())


def test_a_structure_without_a_consuming_layer_cannot_be_scored_by_activation() -> None:
    with pytest.raises(PassError, match="use criterion=magnitude or taylor"):
        Score("activation", ("qk-dim",)).apply(PROGRAM, Context(calibration=TOKENS))
