from __future__ import annotations

import torch
from torch.nn import functional as F

from prunec.passes.analysis.contractions import Contraction, contractions
from prunec.passes.analysis.importance import Score
from prunec.passes.analysis.sensitivity import output_sensitivities
from prunec.passes.contract import Context
from prunec.passes.ir import Program, execute, language_feeds
from prunec.passes.plan import Allocate
from support.layer_inputs import layer_inputs
from support.models import random_tokens, small_program

PROGRAM = small_program(torch.float64)
TOKENS = random_tokens(4, 24)
CHANNELS = "ffn-channel/model.layers.1.mlp.gate_proj.weight"
STEP = 1e-4


def named(program: Program, part: str) -> Contraction:
    return next(c for c in contractions(program.main) if part in c.weight)


def scores(program: Program, tokens: torch.Tensor = TOKENS) -> dict[str, torch.Tensor]:
    context = Context(calibration=tokens)
    Score("obs-fisher").apply(program, context)
    assert context.scores is not None
    return dict(context.scores.by_structure)


def test_the_sensitivity_of_the_head_is_that_of_the_softmax() -> None:
    # At the logits the gradient is known: the probabilities less the token that came.
    head = named(PROGRAM, "embed_tokens") if _is_tied() else named(PROGRAM, "lm_head")
    found = output_sensitivities(PROGRAM, [head], Context(calibration=TOKENS), "the test")[head]
    logits = execute(PROGRAM, language_feeds(PROGRAM.main, TOKENS))["logits"][:, :-1]
    gradient = logits.softmax(-1) - F.one_hot(TOKENS[:, 1:], logits.shape[-1])
    rows = gradient.flatten(0, 1)
    assert torch.allclose(found, rows.T @ rows / TOKENS.numel())


def _is_tied() -> bool:
    return not any("lm_head" in name for name in PROGRAM.weights)


def test_the_sensitivity_of_an_inner_layer_agrees_with_differences_of_the_loss() -> None:
    # One token a window: a change of the weight along one input is a change of one output.
    down = named(PROGRAM, "layers.1.mlp.down_proj")
    windows = TOKENS[:, :2]
    found = output_sensitivities(PROGRAM, [down], Context(calibration=windows), "the test")[down]
    weight = PROGRAM.weights[down.weight]
    total = torch.zeros_like(found)
    for window in windows.split(1):
        gradient = _output_gradient(window, down, weight)
        total += gradient[:, None] * gradient[None, :]
    assert torch.allclose(found, total / windows.numel(), rtol=1e-4, atol=1e-12)


def _output_gradient(
    window: torch.Tensor, layer: Contraction, weight: torch.Tensor
) -> torch.Tensor:
    """Central differences of the loss for each output of the first token."""
    inputs = layer_inputs(PROGRAM, layer.weight, window)[0]  # of the token whose logits are judged
    direction = inputs / inputs.square().sum()
    gradient = []
    for output in range(len(weight)):
        change = torch.zeros_like(weight)
        change[output] = STEP * direction
        ends = [
            _loss(PROGRAM.with_weights({layer.weight: weight + sign * change}), window)
            for sign in (1, -1)
        ]
        gradient.append((ends[0] - ends[1]) / (2 * STEP))
    return torch.stack(gradient)


def _loss(program: Program, window: torch.Tensor) -> torch.Tensor:
    logits = execute(program, language_feeds(program.main, window))["logits"][:, 0]
    return F.cross_entropy(logits, window[:, 1])


def test_a_unit_that_cannot_reach_the_loss_costs_nothing() -> None:
    down = "model.layers.1.mlp.down_proj.weight"
    weight = PROGRAM.weights[down].clone()
    weight[:, 5] = 0
    found = scores(PROGRAM.with_weights({down: weight}))[CHANNELS]
    assert int(found.argmin()) == 5
    assert float(found[5]) < 1e-6 * float(found.median())


def test_scores_of_all_layers_compete_as_losses() -> None:
    # The last layer's outputs matter less to a loss that hardly reads them.
    name = next(n for n in PROGRAM.weights if "layers.1.mlp.down_proj" in n)
    quiet = PROGRAM.with_weights({name: PROGRAM.weights[name] * 1e-3})
    context = Context(calibration=TOKENS)
    Score("obs-fisher", ("ffn-channel",)).apply(quiet, context)
    Allocate(
        keep=0.9, kinds=("ffn-channel",), method="global", standardise="none", multiple=1
    ).apply(quiet, context)
    assert context.plan is not None
    kept = [cut.kept_count for cut in context.plan.cuts]
    assert kept[1] < kept[0]
