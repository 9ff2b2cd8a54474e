"""A program, its ONNX file in ONNX Runtime, and onnxruntime-genai say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prunec.backends.genai import write_genai_folder
from prunec.backends.onnx import export_onnx
from prunec.backends.ort import OrtRunner, fold_cache
from prunec.backends.runner import Runner, generate
from prunec.backends.torch import TorchRunner
from prunec.passes.ir import Program
from support.models import random_tokens, small_program
from support.uneven import narrow_value_program, uneven_program

# Largest logit difference over the largest logit: float32 kernels that add in another order.
FLOAT32_ROUNDING = 1e-5
# float16 has 11 bits: a half unit in the last place, grown through two layers.
FLOAT16_ROUNDING = 5e-3

MODELS = {"even": small_program, "uneven": uneven_program}
FORMS: dict[str, Sequence[Callable[..., int]]] = {"plain": (), "folded": (fold_cache,)}
PADDING = torch.tensor([0, 3, 1])


@pytest.fixture(
    scope="module",
    params=[(model, form) for model in MODELS for form in FORMS],
    ids=lambda p: "-".join(p),
)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Program, Path]:
    model, form = request.param
    program = MODELS[model]()
    path = tmp_path_factory.mktemp(f"{model}-{form}") / "model.onnx"
    export_onnx(program, path, FORMS[form])
    return program, path


def padded_mask(batch: int, length: int) -> torch.Tensor:
    """[batch, length]: 0 for the first tokens of some rows, never for the last two."""
    padding = PADDING[:batch].clamp_max(max(length - 2, 0))
    return (torch.arange(length)[None] >= padding[:, None]).long()


def largest_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("new", [1, 2, 7])
@pytest.mark.parametrize("past", [0, 1, 9])
def test_onnx_equals_the_program(
    pair: tuple[Program, Path], batch: int, new: int, past: int
) -> None:
    program, path = pair
    tokens, mask = random_tokens(batch, past + new), padded_mask(batch, past + new)
    found, expected = (
        last_step(runner, tokens, mask, past)[mask[:, past:].bool()]
        for runner in (OrtRunner(path), TorchRunner(program))
    )
    assert largest_error(found, expected) < FLOAT32_ROUNDING


def last_step(runner: Runner, tokens: torch.Tensor, mask: torch.Tensor, past: int) -> torch.Tensor:
    cache = None
    if past:
        _, cache = runner.step(tokens[:, :past], mask[:, :past], None)
    return runner.step(tokens[:, past:], mask, cache)[0]


def test_steps_with_the_cache_equal_one_pass(pair: tuple[Program, Path]) -> None:
    runner = OrtRunner(pair[1])
    tokens, mask = random_tokens(3, 12), padded_mask(3, 12)
    whole, _ = runner.step(tokens, mask, None)
    logits, cache = runner.step(tokens[:, :6], mask[:, :6], None)
    parts = [logits]
    for end in range(7, 13):
        logits, cache = runner.step(tokens[:, end - 1 : end], mask[:, :end], cache)
        parts.append(logits)
    real = mask.bool()
    assert largest_error(torch.cat(parts, dim=1)[real], whole[real]) < FLOAT32_ROUNDING


def test_a_cache_can_be_used_twice(pair: tuple[Program, Path]) -> None:
    runner = OrtRunner(pair[1])
    tokens, mask = random_tokens(1, 6), torch.ones(1, 6, dtype=torch.int64)
    _, cache = runner.step(tokens[:, :5], mask[:, :5], None)
    first, _ = runner.step(tokens[:, 5:], mask, cache)
    again, _ = runner.step(tokens[:, 5:], mask, cache)
    assert torch.equal(first, again)


@pytest.mark.parametrize("batch", [1, 3])
def test_greedy_generation_gives_the_same_64_tokens(pair: tuple[Program, Path], batch: int) -> None:
    program, path = pair
    tokens, mask = random_tokens(batch, 8), padded_mask(batch, 8)
    expected = generate(TorchRunner(program), tokens, mask, new_tokens=64)
    assert torch.equal(generate(OrtRunner(path), tokens, mask, new_tokens=64), expected)


def test_genai_generates_the_same_64_tokens(pair: tuple[Program, Path]) -> None:
    genai = pytest.importorskip("onnxruntime_genai", reason="the extra genai is not installed")
    program, path = pair
    origin = {**program.origin, "eos_token_id": 0, "max_position_embeddings": 256}
    write_genai_folder(replace(program, origin=origin), path.parent)
    tokens = random_tokens(1, 8)
    model = genai.Model(str(path.parent))
    params = genai.GeneratorParams(model)
    params.set_search_options(min_length=72, max_length=72)
    generator = genai.Generator(model, params)
    generator.append_tokens(tokens.numpy().astype(np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    found = list(generator.get_sequence(0))[8:]
    expected = generate(
        OrtRunner(path), tokens, new_tokens=64, choose=lambda logits: _without_end(logits)
    )
    assert found == expected[0].tolist()


def _without_end(logits: torch.Tensor) -> torch.Tensor:
    """The best token but 0, the end, which genai may not choose before the least length."""
    return logits[:, 1:].argmax(-1) + 1


@pytest.mark.parametrize("form", FORMS)
def test_values_may_be_narrower_than_keys_in_float16(form: str, tmp_path: Path) -> None:
    program = narrow_value_program(torch.float16)
    path = tmp_path / "model.onnx"
    export_onnx(program, path, FORMS[form])
    tokens, mask = random_tokens(3, 7), padded_mask(3, 7)
    found, _ = OrtRunner(path).step(tokens, mask, None)
    expected, _ = TorchRunner(program).step(tokens, mask, None)
    assert largest_error(found[mask.bool()], expected[mask.bool()]) < FLOAT16_ROUNDING
