"""Prompts at the edge of what is one: ONNX Runtime chooses and decodes as torch does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from prunec.backends.onnx import export_experts
from prunec.backends.ort import ExpertsOrtRunner
from prunec.backends.torch import ExpertsRunner
from prunec.passes.contract import Context
from prunec.passes.ir import Program
from prunec.passes.surgery import SelectExperts
from support.models import random_tokens, small_program
from support.oracle import relative_error

DENSE = small_program()
SILENT = {n: torch.zeros_like(w) for n, w in DENSE.weights.items() if "up_proj" in n}
PROGRAMS = {"active": DENSE, "all activations zero": DENSE.with_weights(SILENT)}
OPTIONS: dict[str, dict[str, Any]] = {
    "refitted": {"refit": "prompt"},
    "per sequence": {"per_sequence": True},
}
MASKS = {
    "one token": [[1], [1]],
    "one token of a row": [[0, 0, 0, 1], [0, 1, 1, 1]],
    "a row of padding": [[1, 1, 1, 1], [0, 0, 0, 0]],
}
TOKENS = random_tokens(2, 5)
ROUNDING = 1e-4  # the refit solves in float32, with moments of few tokens


@pytest.fixture(scope="module", params=[(p, o) for p in PROGRAMS for o in OPTIONS], ids=" ".join)
def chosen(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    name, option = request.param
    context = Context(calibration=random_tokens(4, 16, 1))
    program = SelectExperts(**OPTIONS[option]).apply(PROGRAMS[name], context)
    folder = tmp_path_factory.mktemp("experts")
    export_experts(program, folder)
    return program, folder


@pytest.mark.parametrize("kind", MASKS)
def test_prompts_of_little_or_nothing_decode_as_in_torch(
    chosen: tuple[Program, Path], kind: str
) -> None:
    program, folder = chosen
    prompt = torch.tensor(MASKS[kind])
    length = prompt.shape[1]
    longer = torch.cat([prompt, torch.ones(2, 1, dtype=torch.int64)], 1)
    results = []
    for runner in (ExpertsRunner(program), ExpertsOrtRunner(folder)):
        first, cache = runner.step(TOKENS[:, :length], prompt, None)
        second, _ = runner.step(TOKENS[:, length : length + 1], longer, cache)
        results.append((first[prompt.bool()], second))
    for expected, found in zip(*results, strict=True):
        assert torch.isfinite(expected).all()
        assert relative_error(found, expected) < ROUNDING
