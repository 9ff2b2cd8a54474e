"""The way of a model in minutes, for every set of versions; the cache comes first.

``tools/versions.sh`` runs what is marked here with other versions than those of CI.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from prunec.backends.onnx import export_onnx
from prunec.backends.ort import open_onnx
from prunec.backends.tensorrt import EngineOptions, build_engine, language_profiles
from prunec.backends.torch import open_runner
from prunec.frontend.export import trace_model
from prunec.passes.analysis.cost import measure
from prunec.passes.contract import Context
from prunec.passes.ir import Program, Role, cast, load_program, save_program
from prunec.passes.manager import run_pipeline
from prunec.passes.spec import parse_pipeline
from support.architectures import random_model
from support.configs.sizes import VOCABULARY
from support.oracle import relative_error

pytestmark = pytest.mark.smoke

MODELS = ("llama", "gpt2", "gemma2", "qwen3", "mixtral")
ROUNDING = 1e-5
PIPELINE = "clean,score,allocate{keep=0.8 multiple=1},remove-structures,refit"


@cache
def traced(name: str) -> tuple[Any, Program]:
    model = random_model(name)
    return model, trace_model(model)


@cache
def pruned(name: str) -> Program:
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(3, VOCABULARY, (4, 32), generator=generator)
    return run_pipeline(traced(name)[1], parse_pipeline(PIPELINE), Context(calibration=text))


def walked(runner: Any, tokens: torch.Tensor, mask: torch.Tensor, first: int) -> torch.Tensor:
    """Logits of a prefill and of the single steps after it."""
    logits, past = runner.step(tokens[:, :first], mask[:, :first], None)
    parts = [logits]
    for end in range(first + 1, tokens.shape[1] + 1):
        logits, past = runner.step(tokens[:, end - 1 : end], mask[:, :end], past)
        parts.append(logits)
    return torch.cat(parts, dim=1)


def padded_text() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens, mask = (
        torch.randint(3, VOCABULARY, (2, 12), generator=generator),
        torch.ones(2, 12).long(),
    )
    mask[1, :3] = 0
    return tokens, mask


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_steps_with_the_cache_equal_the_model_without_one(name: str) -> None:
    model, program = traced(name)
    assert program.main.ports(Role.CACHE)[0]
    tokens, mask = padded_text()
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    expected = model(
        input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False
    ).logits
    found = walked(open_runner(program), tokens, mask, 7)
    real = mask.bool()
    assert relative_error(found[real], expected[real]) < ROUNDING


@pytest.mark.parametrize("name", MODELS)
def test_a_cut_and_repaired_program_is_smaller_and_survives_the_disk(
    name: str, tmp_path: Path
) -> None:
    before, after = measure(traced(name)[1]), measure(pruned(name))
    assert after.block_parameters <= 0.8 * before.block_parameters
    save_program(pruned(name), tmp_path / "program")
    tokens, mask = padded_text()
    results = [
        walked(open_runner(program), tokens, mask, 7)
        for program in (pruned(name), load_program(tmp_path / "program"))
    ]
    assert torch.equal(*results)


@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_steps_as_the_program_does(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(pruned(name), path)
    tokens, mask = padded_text()
    expected = walked(open_runner(pruned(name)), tokens, mask, 7)
    found = walked(open_onnx(path), tokens, mask, 7)
    real = mask.bool()
    assert relative_error(found[real], expected[real]) < 1e-4


@pytest.mark.tensorrt
def test_an_engine_is_built(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(cast(pruned("llama"), torch.bfloat16), path)
    profiles = language_profiles(batch_size=2, new_tokens=16, max_length=32)
    build_engine(path, tmp_path / "model.engine", EngineOptions("tensorrt_rtx", profiles))
    assert (tmp_path / "model.engine").stat().st_size > 0
