"""Each criterion against its formula, written down a second time and without thrift."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import CRITERIA, Score, Scores
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program, execute, language_feeds
from support.architectures import architecture_program
from support.configs.sizes import VOCABULARY
from support.layer_inputs import layer_inputs
from support.models import random_tokens, small_program

PROGRAM = small_program(torch.float64)
GPT2 = architecture_program("gpt2")
TOKENS = random_tokens(6, 30) % VOCABULARY
CHANNELS = "ffn-channel/model.layers.1.mlp.gate_proj.weight"
GROUPS = "heads/model.layers.1.self_attn.q_proj.weight"
DOWN, OUT = "model.layers.1.mlp.down_proj.weight", "model.layers.1.self_attn.o_proj.weight"
GROUP_INPUTS = 32  # two query heads of 16
DAMPING = 0.001
OF_ACTIVATIONS = ("activation", "wanda", "flap", "leverage", "obs", "obs-greedy")
OF_GRADIENTS = ("taylor", "taylor-second", "taylor-mixed", "taylor-vector", "saap")


def scored(program: Program, criterion: str, *kinds: str) -> Scores:
    context = Context(calibration=TOKENS)
    Score(criterion, kinds or ("kv-group", "ffn-channel")).apply(program, context)
    assert context.scores is not None
    return context.scores


def inverse(x: torch.Tensor) -> torch.Tensor:
    gram = x.T @ x
    return torch.linalg.inv(gram + DAMPING * gram.diagonal().mean() * torch.eye(len(gram)))


def flap(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return x.var(0, correction=0) * w.square().sum(0)


def leverage(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return (x.T @ x @ inverse(x)).diagonal()


def grouped(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, GROUP_INPUTS)


@pytest.mark.parametrize(
    ("criterion", "formula"),
    [
        ("activation", lambda x, w: x.norm(dim=0)),
        ("wanda", lambda x, w: (w.abs() * x.norm(dim=0)).norm(dim=0)),
        ("flap", flap),
        ("leverage", leverage),
        ("obs", lambda x, w: w.square().sum(0) / inverse(x).diagonal() / 2),
    ],
)
def test_channels_are_scored_by_the_formula(
    criterion: str, formula: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    expected = formula(layer_inputs(PROGRAM, DOWN, TOKENS), PROGRAM.weights[DOWN])
    assert torch.allclose(scored(PROGRAM, criterion).by_structure[CHANNELS], expected)


@pytest.mark.parametrize(
    ("criterion", "formula"),
    [
        ("activation", lambda x, w: grouped(x.norm(dim=0)).norm(dim=1)),
        ("wanda", lambda x, w: grouped((w.abs() * x.norm(dim=0)).norm(dim=0)).norm(dim=1)),
        ("flap", lambda x, w: grouped(flap(x, w).square()).mean(1)),
        ("leverage", lambda x, w: grouped(leverage(x, w)).sum(1)),
    ],
)
def test_groups_are_scored_by_the_formula(
    criterion: str, formula: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    expected = formula(layer_inputs(PROGRAM, OUT, TOKENS), PROGRAM.weights[OUT])
    assert torch.allclose(scored(PROGRAM, criterion).by_structure[GROUPS], expected)


def window_gradients(program: Program, names: list[str]) -> dict[str, torch.Tensor]:
    """For each weight the gradients of the mean loss of each window: [window, ...]."""
    found: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for window in TOKENS.split(1):
        leaves = {n: program.weights[n].detach().clone().requires_grad_(True) for n in names}
        logits = execute(program.with_weights(leaves), language_feeds(program.main, window))
        F.cross_entropy(logits["logits"][0, :-1], window[0, 1:]).backward()
        for name, leaf in leaves.items():
            assert leaf.grad is not None
            found[name].append(leaf.grad)
    return {name: torch.stack(gradients) for name, gradients in found.items()}


def first(g: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return g.mean(0) * w


def second(g: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return w * g.square().mean(0) * w / 2


PREDICTIONS = TOKENS.shape[0] * (TOKENS.shape[1] - 1)


@pytest.mark.parametrize(
    ("criterion", "formula"),
    [
        ("taylor", lambda g, w: PREDICTIONS * first(g, w).abs().sum(1)),
        ("taylor-second", lambda g, w: second(g, w).sum(1)),
        ("taylor-mixed", lambda g, w: (first(g, w) - second(g, w)).abs().sum(1)),
        ("taylor-vector", lambda g, w: PREDICTIONS * first(g, w).sum(1).abs()),
    ],
)
def test_gradients_score_channels_by_the_formula(
    criterion: str, formula: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    structure = find_structures(PROGRAM).find(CHANNELS)
    assert structure is not None
    gradients = window_gradients(PROGRAM, [m.weight for m in structure.members])
    expected = torch.zeros(structure.size, dtype=torch.float64)
    for member in structure.members:
        # Channels first, as in the gate and up projections.
        g = gradients[member.weight].transpose(1, 1 + member.dim)
        expected += formula(g, PROGRAM.weights[member.weight].transpose(0, member.dim))
    assert torch.allclose(scored(PROGRAM, criterion).by_structure[CHANNELS], expected)


@pytest.mark.parametrize("criterion", [*OF_ACTIVATIONS, *OF_GRADIENTS, "obs-fisher", "magnitude"])
def test_layers_that_keep_their_matrices_turned_are_scored(criterion: str) -> None:
    found = scored(GPT2, criterion, "head", "ffn-channel").by_structure
    sizes = {name: len(values) for name, values in found.items()}
    coupling = find_structures(GPT2)
    assert sizes == {s.name: s.size for s in coupling.of_kind("head", "ffn-channel")}
    assert all((torch.isfinite(v) & (v > 0)).all() for v in found.values())


def test_a_turned_matrix_meets_the_inputs_by_its_rows() -> None:
    name = "transformer.h.0.mlp.c_proj.weight"
    x, w = layer_inputs(GPT2, name, TOKENS), GPT2.weights[name]  # [in, out]
    expected = (w.abs() * x.norm(dim=0)[:, None]).norm(dim=1)
    found = scored(GPT2, "wanda", "ffn-channel").by_structure
    assert torch.allclose(found["ffn-channel/transformer.h.0.mlp.c_fc.weight"], expected)


@pytest.mark.parametrize("criterion", OF_ACTIVATIONS)
def test_an_axis_that_nothing_sums_over_names_criteria_that_would_do(criterion: str) -> None:
    with pytest.raises(PassError, match=r"no linear layer.*use criterion=magnitude or taylor"):
        scored(PROGRAM, criterion, "qk-dim")


@pytest.mark.parametrize("criterion", OF_ACTIVATIONS)
def test_a_stream_that_many_layers_sum_over_is_scored_once(criterion: str) -> None:
    (values,) = scored(PROGRAM, criterion, "residual").by_structure.values()
    assert values.shape == (60,)
    assert torch.isfinite(values).all()


def test_every_criterion_names_its_source() -> None:
    assert all(re.search(r"\d{4}\.\d{5}", found.source) for found in CRITERIA.values())
