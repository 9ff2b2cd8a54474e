from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import Score, Scores
from prunec.passes.analysis.importance.fusion import fuse, learn_log_variances
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program, execute, language_feeds
from support.models import random_tokens, small_program

PROGRAM = small_program(torch.float64)
COUPLING = find_structures(PROGRAM)
TOKENS = random_tokens(5, 20)
KINDS = ("kv-group", "ffn-channel")
LEARNED = 1e-4  # how near Adam comes to the closed form, in the logarithm


def saap(program: Program = PROGRAM, tokens: torch.Tensor = TOKENS) -> Scores:
    context = Context(calibration=tokens)
    Score("saap", KINDS).apply(program, context)
    assert context.scores is not None
    return context.scores


def gradients(tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the loss per token of one window, for all weights."""
    leaves = {n: PROGRAM.weights[n].detach().clone().requires_grad_(True) for n in WEIGHTS}
    logits = execute(PROGRAM.with_weights(leaves), language_feeds(PROGRAM.main, tokens))["logits"]
    F.cross_entropy(logits[0, :-1], tokens[0, 1:]).backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


WEIGHTS = sorted({m.weight for s in COUPLING.of_kind("ffn-channel") for m in s.members})
SINGLE = [gradients(window) for window in TOKENS.split(1)]


def importance(
    name: str, mean: dict[str, torch.Tensor], squares: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Vector-wise and element-wise importance of a layer's channels: [2, channel]."""
    structure = COUPLING.find(name)
    assert structure is not None
    vector, element = torch.zeros(2, structure.size, dtype=torch.float64)
    for member in structure.members:
        w = PROGRAM.weights[member.weight]
        change = mean[member.weight] * w - squares[member.weight] * w.square() / 2
        vector += change.sum(1 - member.dim).abs()
        element += change.abs().sum(1 - member.dim)
    return torch.stack([vector, element])


def test_the_learned_noise_is_the_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([[1e-12], [3.0], [1e9]], dtype=torch.float64)
    scores = scales * torch.rand(3, 500, generator=generator, dtype=torch.float64).exp()
    learned = learn_log_variances(scores)
    assert torch.allclose(learned, scores.mean(1).log(), rtol=0, atol=LEARNED)


def test_one_score_far_above_the_others_does_not_keep_the_noise_from_being_learned() -> None:
    scores = torch.full((1, 1000), 1e-9, dtype=torch.float64)
    scores[0, 0] = 1
    assert torch.allclose(learn_log_variances(scores), scores.mean(1).log(), rtol=0, atol=LEARNED)


def test_fusing_averages_scores_that_are_divided_by_their_means() -> None:
    scores = torch.tensor([[1.0, 3.0], [10.0, 10.0]], dtype=torch.float64)
    fused = fuse(scores, learn_log_variances(scores))
    assert torch.allclose(fused, torch.tensor([0.75, 1.25], dtype=torch.float64), rtol=LEARNED)


def test_channels_are_fused_over_the_population_of_their_kind() -> None:
    mean = {n: torch.stack([g[n] for g in SINGLE]).mean(0) for n in WEIGHTS}
    squares = {n: torch.stack([g[n].square() for g in SINGLE]).mean(0) for n in WEIGHTS}
    names = [s.name for s in COUPLING.of_kind("ffn-channel")]
    pairs = {name: importance(name, mean, squares) for name in names}
    population = torch.cat(list(pairs.values()), 1).mean(1)
    found = saap()
    for name, (vector, element) in pairs.items():
        expected = vector / (2 * population[0]) + element / (2 * population[1])
        assert torch.allclose(found.by_structure[name], expected, rtol=2 * LEARNED)


def test_fluctuation_is_the_spread_over_windows_as_a_share_of_the_mean() -> None:
    mean = {n: torch.stack([g[n] for g in SINGLE]).mean(0) for n in WEIGHTS}
    squares = {n: torch.stack([g[n].square() for g in SINGLE]).mean(0) for n in WEIGHTS}
    names = [s.name for s in COUPLING.of_kind("ffn-channel")]
    population = torch.cat([importance(n, mean, squares) for n in names], 1).mean(1)
    name = names[1]
    alone = []
    for g in SINGLE:
        vector, element = importance(name, g, {n: v.square() for n, v in g.items()})
        alone.append(vector / (2 * population[0]) + element / (2 * population[1]))
    values = torch.stack(alone)
    moves = saap().fluctuation
    assert moves is not None
    assert torch.allclose(moves[name], values.std(0) / values.mean(0), rtol=2 * LEARNED)


def test_the_same_text_gives_the_same_bits() -> None:
    one, two = saap(), saap()
    assert all(torch.equal(v, two.by_structure[n]) for n, v in one.by_structure.items())


def test_one_window_shows_no_fluctuation_and_is_refused() -> None:
    with pytest.raises(PassError, match="compares windows of the text and there are 1"):
        saap(tokens=TOKENS[:1])


def test_a_model_whose_loss_does_not_depend_on_the_weights_is_refused() -> None:
    silent = {m: torch.zeros_like(PROGRAM.weights[m]) for m in WEIGHTS}
    with pytest.raises(PassError, match="every importance is zero"):
        saap(PROGRAM.with_weights(silent))


def test_fluctuation_stays_beside_scores_of_other_kinds() -> None:
    context = Context(calibration=TOKENS)
    Score("saap", ("kv-group",)).apply(PROGRAM, context)
    Score("wanda", ("ffn-channel",)).apply(PROGRAM, context)
    assert context.scores is not None
    assert context.scores.criterion == "saap + wanda"
    assert context.scores.fluctuation is not None
    assert context.scores.fluctuation.keys() == {s.name for s in COUPLING.of_kind("kv-group")}
