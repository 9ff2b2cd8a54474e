from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch

from prunec.passes.analysis.contractions import contractions
from prunec.passes.analysis.gradients import GradientSums, stream_gradients
from prunec.passes.analysis.importance import Score
from prunec.passes.analysis.statistics import Moments, stream_moments
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program, cast
from support.architectures import architecture_program
from support.configs.sizes import VOCABULARY
from support.layer_inputs import layer_inputs
from support.models import random_tokens, small_program

PROGRAM = small_program(torch.float64)
TOKENS = random_tokens(12, 16) % VOCABULARY  # two batches of windows
OF_GRADIENTS = ("taylor", "taylor-second", "taylor-mixed", "taylor-vector", "saap")
DOWN = "model.layers.1.mlp.down_proj.weight"


def moments(program: Program, weight: str, **options: Any) -> Moments:
    wanted = [c for c in contractions(program.main) if c.weight == weight]
    context = Context(calibration=TOKENS)
    ((_, found),) = stream_moments(program, wanted, context, "the test", **options)
    return found


@pytest.mark.parametrize(
    ("program", "weight"),
    [(PROGRAM, DOWN), (architecture_program("gpt2"), "transformer.h.1.mlp.c_proj.weight")],
)
def test_moments_are_those_of_the_inputs(program: Program, weight: str) -> None:
    x = layer_inputs(program, weight, TOKENS)
    found = moments(program, weight, with_second=True)
    assert found.tokens == len(x) == TOKENS.numel()
    assert torch.allclose(found.total, x.sum(0))
    assert torch.allclose(found.squares[0], x[: 8 * 16].square().sum(0))
    assert torch.allclose(found.squares.sum(0), x.square().sum(0))
    assert torch.allclose(found.require_second(), x.T @ x)
    assert torch.allclose(found.variance, x.var(0, correction=0))


def test_products_are_only_summed_where_they_are_wanted() -> None:
    assert moments(PROGRAM, DOWN).second is None


def test_sums_of_a_half_precision_model_are_not_in_half_precision() -> None:
    program = cast(small_program(), torch.bfloat16)
    x = layer_inputs(program, DOWN, TOKENS).double()
    found = moments(program, DOWN, with_second=True)
    # Products of bfloat16 numbers are exact in float32, their sums nearly so.
    assert torch.allclose(found.require_second(), x.T @ x, rtol=1e-4, atol=1e-5)


def test_contractions_come_one_after_another_and_progress_is_shown() -> None:
    shown: list[tuple[str, int]] = []

    def progress(items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
        shown.append((title, total))
        yield from items

    wanted = list(contractions(PROGRAM.main))
    context = Context(calibration=TOKENS, progress=progress)
    found = [c for c, _ in stream_moments(PROGRAM, wanted, context, "the test")]
    assert found == wanted
    assert shown == [("Activations", len(wanted))]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "criterion", ["activation", "wanda", "flap", "leverage", "obs", "obs-greedy"]
)
def test_activations_that_are_not_finite_name_the_layer(value: float, criterion: str) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    weight = PROGRAM.weights[name].clone()
    weight[3] = value
    broken = PROGRAM.with_weights({name: weight})
    with pytest.raises(PassError, match=r"at linear_6 are not finite.* 96 inputs.*2 of 2 batches"):
        Score(criterion, ("ffn-channel",)).apply(broken, Context(calibration=TOKENS))


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        *((name, r"no finite gradient for model\.layers") for name in OF_GRADIENTS),
        ("obs-fisher", "no finite gradient at linear_6"),
    ],
)
def test_gradients_that_are_not_finite_say_where(criterion: str, message: str) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    broken = PROGRAM.with_weights({name: torch.full_like(PROGRAM.weights[name], torch.nan)})
    with pytest.raises(PassError, match=message):
        Score(criterion, ("ffn-channel",)).apply(broken, Context(calibration=TOKENS))


def test_gradients_are_summed_over_windows_and_squared_one_by_one() -> None:
    context = Context(calibration=TOKENS)
    windows = list(stream_gradients(PROGRAM, [DOWN], context, "the test"))
    sums = GradientSums()
    for window in windows:
        sums.add(window)
    single = torch.stack([window.summed[DOWN] for window in windows])
    per_token = single / (TOKENS.shape[1] - 1)
    assert len(windows) == len(TOKENS)
    assert torch.allclose(sums.summed(DOWN), single.sum(0))
    assert torch.allclose(sums.mean(DOWN), per_token.mean(0))
    assert torch.allclose(sums.curvature(DOWN), per_token.square().mean(0))
