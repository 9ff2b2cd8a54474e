from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.fx import Node
from torch.nn import functional as F

from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.expert_contractions import all_contractions
from prunec.passes.analysis.importance import Score
from prunec.passes.analysis.sensitivity import output_sensitivities
from prunec.passes.contract import Context, CutRecord
from prunec.passes.ir import Interpreter, Program, execute, language_feeds
from prunec.passes.ir.selection import unit_of
from prunec.passes.manager import run_pipeline
from prunec.passes.plan import Cut, Plan
from prunec.passes.repair import CompensateBias, Refit
from prunec.passes.spec import parse_pipeline
from prunec.passes.surgery import cut_program
from support.architectures import architecture_program
from support.cuts import TOKENS, cut
from support.oracle import relative_error

SPELLINGS = ["mixtral", "gpt-oss", "llama4"]
"""Matrices chosen by rows, before and behind the activations, and rows laid out by experts."""
SMALL = TOKENS[:4, :24]
DUPLICATE_COST = 1e-6


class Values(Interpreter):
    """Keeps every value."""

    def __init__(self, program: Program) -> None:
        super().__init__(program, program.main)
        self.found: dict[str, Any] = {}

    def run_node(self, n: Node) -> Any:
        self.found[n.name] = super().run_node(n)
        return self.found[n.name]


def logits(program: Program) -> torch.Tensor:
    return execute(program, language_feeds(program.main, SMALL))["logits"]


@pytest.mark.parametrize("name", SPELLINGS)
def test_an_expert_maps_its_rows_of_the_operand_to_those_of_the_result(name: str) -> None:
    program = architecture_program(name)
    values = Values(program)
    values.feed(language_feeds(program.main, SMALL))
    experts = [c for c in all_contractions(program.main) if c.expert is not None]
    assert len(experts) == 2 * 2 * 5  # layers, matrices, experts
    for contraction in experts:
        operand = contraction.node.args[contraction.operand]
        assert isinstance(operand, Node)
        places = values.found[contraction.places.name] if contraction.places else None
        x = contraction.rows(values.found[operand.name], places)
        y = contraction.rows(values.found[contraction.node.name], places)
        assert torch.allclose(x @ contraction.matrix(program.weights).T, y)


@pytest.mark.parametrize("name", SPELLINGS)
def test_removing_duplicated_channels_of_experts_costs_nothing_after_the_refit(name: str) -> None:
    # That the second layer is refitted to what the first one's new matrices make is part of it.
    original = with_doubled_channels(architecture_program(name))
    after, context = without_half_of_the_channels(original)
    refitted = Refit(ridge=1e-12).apply(after, context)
    assert relative_error(logits(after), logits(original)) > 0.01
    assert relative_error(logits(refitted), logits(original)) < DUPLICATE_COST


def with_doubled_channels(program: Program) -> Program:
    """The later half of every expert's channels made equal to the earlier half."""
    coupling = find_structures(program)
    weights = dict(program.weights)
    for structure in coupling.of_kind("expert-channel"):
        for member in structure.members:
            axis = coupling.weight_axes[member.weight][member.dim]
            unit = torch.from_numpy(unit_of(axis, structure.atom))
            if "down_proj" not in member.weight:
                weight = weights[member.weight].clone().movedim(member.dim, 0)
                half = structure.size // 2
                weight[unit >= half] = weight[unit < half]
                weights[member.weight] = weight.movedim(0, member.dim)
    return program.with_weights(weights)


def without_half_of_the_channels(program: Program) -> tuple[Program, Context]:
    size = find_structures(program).of_kind("expert-channel")[0].size
    after, context = cut(program, "expert-channel", slice(0, size // 2))
    context.calibration = SMALL
    return after, context


def test_a_channel_that_no_expert_sends_on_costs_nothing() -> None:
    program = architecture_program("mixtral")
    down = "model.layers.1.mlp.experts.down_proj"
    silent = program.weights[down].clone()
    silent[:, :, 5] = 0
    context = Context(calibration=SMALL)
    Score("obs-fisher").apply(program.with_weights({down: silent}), context)
    assert context.scores is not None
    found = context.scores.by_structure["expert-channel/model.layers.1.mlp.experts.gate_up_proj"]
    assert int(found.argmin()) == 5
    assert float(found[5]) < 1e-6 * float(found.median())


def test_the_sensitivity_of_an_expert_is_that_of_the_tokens_it_is_given() -> None:
    # The last layer's experts end in sums over each token's own: gradients differ by the shares.
    program = architecture_program("mixtral")
    wanted = [c for c in all_contractions(program.main) if c.expert is not None][-5:]
    found = output_sensitivities(program, wanted, Context(calibration=SMALL), "the test")
    values = Values(program)
    values.feed(language_feeds(program.main, SMALL))
    assert wanted[0].places is not None
    rows = values.found[wanted[0].places.name].bincount(minlength=5)
    whole = sum(m * n for m, n in zip(found.values(), rows, strict=True))
    assert (rows > 0).all()
    assert torch.allclose(whole, _moments_of_all(program, wanted[0].node.name))


def _moments_of_all(program: Program, node: str) -> torch.Tensor:
    """Sum over all rows of g gᵀ, g the gradient of the loss at a node [row, out, 1]."""
    total = torch.zeros(())
    for window in SMALL.split(1):
        values = Values(
            program.with_weights(
                {
                    n: w.detach().requires_grad_(w.is_floating_point())
                    for n, w in program.weights.items()
                }
            )
        )
        (scores, *_) = values.feed(language_feeds(program.main, window))
        loss = F.cross_entropy(scores[0, :-1], window[0, 1:], reduction="sum")
        (gradient,) = torch.autograd.grad(loss, values.found[node])
        total = total + gradient.squeeze(-1).T @ gradient.squeeze(-1)
    return total


def test_an_expert_that_is_given_no_tokens_is_left_as_it_is() -> None:
    program = architecture_program("gpt-oss")
    router = "model.layers.0.mlp.router.bias"
    lonely = program.weights[router].clone()
    lonely[3] = -1e4
    program = program.with_weights({router: lonely})
    for criterion in ("obs-fisher", "flap", "leverage"):
        Score(criterion).apply(program, Context(calibration=SMALL))
    after, context = without_half_of_the_channels(program)
    refitted = Refit().apply(after, context)
    down = "model.layers.0.mlp.experts.down_proj"
    assert torch.equal(refitted.weights[down][3], after.weights[down][3])
    assert not torch.equal(refitted.weights[down][2], after.weights[down][2])


@pytest.mark.parametrize("name", [*SPELLINGS, "phimoe", "deepseek-v3"])
def test_the_default_recipe_cuts_experts_and_repairs_them(name: str) -> None:
    program = architecture_program(name)
    context = Context(calibration=SMALL)
    losing = "score{criterion=obs-fisher},allocate{keep=0.5 method=global standardise=none}"
    cut_only = run_pipeline(program, parse_pipeline(f"{losing},remove-structures"), context)
    repaired = run_pipeline(cut_only, parse_pipeline("refit,reconstruct{epochs=1}"), context)
    assert measure(repaired).block_parameters <= measure(program).block_parameters // 2
    assert relative_error(logits(repaired), logits(program)) < relative_error(
        logits(cut_only), logits(program)
    )


def test_where_some_experts_went_the_others_stay_as_cut_and_the_run_says_so() -> None:
    program = architecture_program("mixtral")
    coupling = find_structures(program)
    cuts = tuple(
        Cut(s.name, s.kind, s.index, s.size, tuple(range(s.size - 1)))
        for s in coupling.of_kind("expert", "expert-channel")
    )
    plan = Plan(cuts, program.fingerprint())
    notices: list[str] = []
    after = cut_program(program, coupling, plan.selection(program, coupling))
    record = CutRecord(program, after, plan)
    context = Context(calibration=SMALL, cut=record, notice=notices.append)
    assert Refit().apply(after, context) is after
    assert any("2 sums over what was cut stay as the cut left them" in n for n in notices)


def test_experts_get_no_biases_and_the_run_says_so() -> None:
    after, context = without_half_of_the_channels(architecture_program("mixtral"))
    notices: list[str] = []
    context.notice = notices.append
    assert CompensateBias().apply(after, context).weights.keys() == after.weights.keys()
    assert any("experts get no biases" in notice for notice in notices)
