"""A program with two entry points as two ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from prunec.backends.onnx import export_onnx
from prunec.passes.contract import Context
from prunec.passes.ir import (
    DECODE,
    PREFILL,
    Program,
    ProgramError,
    Role,
    execute,
    language_feeds,
)
from prunec.passes.ir.run import next_cache
from prunec.passes.surgery import SelectExperts
from support.architectures import architecture_program
from support.models import random_tokens, small_program
from support.oracle import relative_error

ROUNDING = 1e-5
SOLVING = 1e-3  # two algorithms in float32, moments of twelve tokens under a small ridge
TOKENS = random_tokens(3, 9) % 64
MASK = torch.ones_like(TOKENS)
MASK[1, :3] = 0
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "each": {"per_sequence": True},
    "helped": {"prior": 0.5, "column_norm": True, "core": 0.25},
    "magnitude": {"choice": "magnitude"},
    "refitted": {"refit": "prompt"},
    "refitted each": {"refit": "prompt", "per_sequence": True, "rank": 8},
}


def run(path: Path, feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    values = session.run(names, {n: t.contiguous().numpy() for n, t in feeds.items()})
    return {n: torch.from_numpy(np.asarray(v)) for n, v in zip(names, values, strict=True)}


def select(name: str, options: dict[str, Any]) -> Program:
    program = architecture_program(name, torch.float32)
    return SelectExperts(**options).apply(program, Context(calibration=TOKENS))


@pytest.mark.parametrize(
    ("name", "option"),
    [("llama", o) for o in OPTIONS] + [(n, "plain") for n in ("opt", "gpt2", "phi3")],
)
def test_both_files_choose_and_compute_what_torch_does(
    name: str, option: str, tmp_path: Path
) -> None:
    program = select(name, OPTIONS[option])
    prefill, decode = program.entries[PREFILL], program.entries[DECODE]
    for entry in (PREFILL, DECODE):
        export_onnx(program, tmp_path / f"{entry}.onnx", entry=entry)
    feeds = language_feeds(prefill, TOKENS, MASK)
    here, there = execute(program, feeds, prefill), run(tmp_path / "prefill.onnx", feeds)
    for port in prefill.ports(Role.EXPERTS)[1]:
        is_solved = "refit" in OPTIONS[option] and "down_proj" in port.name
        error = relative_error(there[port.name].double(), here[port.name].double())
        assert error < (SOLVING if is_solved else 1e-30), port.name
    experts = {p.name: here[p.name] for p in decode.ports(Role.EXPERTS)[0]}
    mask = torch.cat([MASK, torch.ones(3, 2, dtype=torch.int64)], dim=1)
    cache = {**next_cache(prefill, here), **experts}  # the same for both
    feeds = language_feeds(decode, random_tokens(3, 2, 1) % 64, mask, cache)
    here, there = execute(program, feeds, decode), run(tmp_path / "decode.onnx", feeds)
    assert relative_error(there["logits"], here["logits"]) < ROUNDING


def test_activations_of_zero_choose_the_same_units_in_both(tmp_path: Path) -> None:
    program = small_program()
    silent = {n: torch.zeros_like(w) for n, w in program.weights.items() if "up_proj" in n}
    chosen = SelectExperts().apply(program.with_weights(silent), Context())
    export_onnx(chosen, tmp_path / "prefill.onnx", entry=PREFILL)
    feeds = language_feeds(chosen.entries[PREFILL], TOKENS, MASK)
    there = run(tmp_path / "prefill.onnx", feeds)
    here = execute(chosen, feeds, chosen.entries[PREFILL])
    assert torch.equal(there["experts.0.indices"], torch.arange(48))
    assert torch.equal(here["experts.0.indices"], torch.arange(48))


def test_an_entry_point_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"no entry point 'decode'.*main"):
        export_onnx(small_program(), tmp_path / "model.onnx", entry=DECODE)
    with pytest.raises(ProgramError, match=r"\['decode', 'prefill'\]: name one"):
        export_onnx(select("llama", {}), tmp_path / "model.onnx")
