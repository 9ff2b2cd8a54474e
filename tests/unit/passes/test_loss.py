"""The loss of what is no language model: its gradients are those of drawn labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from prunec.frontend.export import trace_config
from prunec.passes.analysis.importance import Score
from prunec.passes.analysis.loss import TextLoss
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program, Role
from support.architectures import architecture_program
from support.models import random_tokens, small_program
from support.small_programs import through
from support.text_models import text_model

WINDOW = random_tokens(1, 9)
DRAWS = 40_000
CLASSIFIER = architecture_program("bert-classifier", torch.float32)
ENCODER = architecture_program("bert", torch.float32)


def second_moments(program: Program, output: str, values: torch.Tensor) -> torch.Tensor:
    """The mean over rows of the loss's gradient at an output, times itself."""
    outputs = {port.name: torch.zeros(1, 40) for port in program.main.outputs}
    outputs[output] = values.requires_grad_(True)
    TextLoss(program, 0, "the test")(outputs, WINDOW).total.backward()
    rows = values.grad.flatten(0, -2)  # type: ignore[union-attr]
    return rows.T @ rows / len(rows)


def test_a_model_with_a_cache_predicts_the_next_token() -> None:
    logits = torch.randn(1, 9, 128)
    found = TextLoss(small_program(), 0, "the test")({"logits": logits}, WINDOW)
    wanted = F.cross_entropy(logits[0, :-1], WINDOW[0, 1:], reduction="sum")
    assert found.predictions == 8
    assert torch.equal(found.total, wanted)


def test_a_model_that_generates_predicts_the_next_token_without_a_cache_too() -> None:
    config = text_model("masked-lm")
    config.update({"architectures": ["BertLMHeadModel"], "is_decoder": True})
    logits = torch.randn(1, 9, 64)
    total = TextLoss(trace_config(config, cache=False), 0, "the test")(
        {"logits": logits}, WINDOW % 64
    )
    assert total.predictions == 8


def test_the_gradients_of_a_classifier_have_its_fisher_matrix_as_second_moments() -> None:
    chances = torch.tensor([0.6, 0.3, 0.1])
    logits = chances.log().expand(DRAWS, 3).clone()
    fisher = chances.diag() - torch.outer(chances, chances)
    # Of so many draws a mean is off by 0.002 or so.
    assert (second_moments(CLASSIFIER, "logits", logits) - fisher).abs().max() < 0.01


def test_hidden_states_count_alike_in_every_direction() -> None:
    states = torch.randn(1, DRAWS, 3)
    moments = second_moments(ENCODER, "last_hidden_state", states)
    assert (moments - torch.eye(3)).abs().max() < 0.03


def test_the_one_number_of_a_regression_has_a_gradient() -> None:
    port = replace(CLASSIFIER.main.outputs[0], shape=("batch_size", 1))
    program = replace(CLASSIFIER, entries={"main": replace(CLASSIFIER.main, outputs=(port,))})
    assert abs(float(second_moments(program, "logits", torch.randn(DRAWS, 1))) - 1) < 0.03


def test_both_outputs_of_an_answer_count() -> None:
    logits = CLASSIFIER.main.outputs[0]
    pair = tuple(replace(logits, name=name) for name in ("start_logits", "end_logits"))
    program = replace(CLASSIFIER, entries={"main": replace(CLASSIFIER.main, outputs=pair)})
    given = {port.name: torch.randn(4, 3, requires_grad=True) for port in pair}
    found = TextLoss(program, 0, "the test")(given, WINDOW)
    found.total.backward()
    assert found.predictions == 8
    assert all(values.grad is not None for values in given.values())


@pytest.mark.parametrize("criterion", ["taylor", "taylor-second", "saap", "obs-fisher"])
@pytest.mark.parametrize("program", [CLASSIFIER, ENCODER], ids=["classifier", "encoder"])
def test_a_unit_that_reaches_no_output_is_worth_nothing(criterion: str, program: Program) -> None:
    (name,) = (n for n in program.weights if n.endswith("layer.1.output.dense.weight"))
    weight = program.weights[name].clone()
    weight[:, 5] = 0
    tokens = random_tokens(4, 12) % 64
    context = Context(calibration=tokens)
    Score(criterion, ("ffn-channel",)).apply(program.with_weights({name: weight}), context)
    assert context.scores is not None
    found = next(s for n, s in context.scores.by_structure.items() if "layer.1" in n)
    assert int(found.argmin()) == 5
    assert float(found.median()) > 0


def test_the_seed_draws_the_labels_and_nothing_else_does() -> None:
    outputs = {"logits": torch.randn(50, 3)}
    totals = [
        float(TextLoss(CLASSIFIER, seed, "the test")(outputs, WINDOW).total) for seed in (0, 0, 1)
    ]
    assert totals[0] == totals[1] != totals[2]


def test_a_program_that_returns_no_numbers_to_learn_from_is_refused() -> None:
    program = through(lambda b, h: h)
    outputs = tuple(
        replace(port, role=Role.OTHER, dtype=torch.int64) for port in program.main.outputs
    )
    whole = replace(program, entries={"main": replace(program.main, outputs=outputs)})
    with pytest.raises(PassError, match=r"needs logits or hidden states.*returns \['y'\]"):
        TextLoss(whole, 0, "the test")
