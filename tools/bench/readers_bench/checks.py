"""Lower one architecture in one precision and give the files to their readers."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from shared.sweep import first_line

from prunec.backends.onnx import FOR_TENSORRT, export_onnx
from prunec.backends.onnx.check import RUNTIME, require_readable
from prunec.backends.tensorrt import AxisRange, EngineOptions, build_engine, program_profiles
from prunec.passes.ir import Program, execute
from support.architectures import architecture_program, random_feeds
from support.oracle import relative_error
from support.sessions import run_file

PAST_TOKENS = 3
RANGES = {"sample_count": AxisRange(400, 400, 1600)}
"""Of axes that the inputs do not tell: sound."""


def check_readers(name: str, precision: str) -> dict[str, Any]:
    """Everything that is said about one architecture in one precision, for the JSON file.

    Args:
        name: One of the architectures of the tests.
        precision: For example ``float16``.
    """
    program = architecture_program(name, getattr(torch, precision))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        report = export_onnx(program, path)
        seconds = {stage: round(spent, 3) for stage, spent in report.seconds.items()}
        found: dict[str, Any] = {"nodes": report.node_count, "seconds": seconds}
        if RUNTIME in report.readers:
            found["onnxruntime"] = _run(program, path)
        return found | {"engine": _build(program, path)}


def _run(program: Program, path: Path) -> dict[str, Any]:
    """How far ONNX Runtime is from torch in the same precision."""
    feeds = random_feeds(program.main, past=PAST_TOKENS)
    expected = execute(program, feeds)
    try:
        values = run_file(path, feeds)
    except Exception as error:  # whatever it is, it is the result
        return {"failed": first_line(error)}
    errors = [relative_error(values[n].float(), expected[n].float()) for n in expected]
    return {"largest_error": max(errors)}


def _build(program: Program, path: Path) -> dict[str, Any]:
    """Whether an engine comes of the file that is written for one."""
    started = time.perf_counter()
    try:
        model = ir.load(path)
        rewritten = {rewrite.__name__: rewrite(model) for rewrite in FOR_TENSORRT}
        source = path.with_name("engine.onnx")
        ir.save(model, source, external_data="engine.onnx.data")
        require_readable(source, model)
        profiles = program_profiles(
            program.main.inputs, batch_size=4, new_tokens=32, max_length=64, ranges=RANGES
        )
        manifest = build_engine(
            source, path.with_suffix(".engine"), EngineOptions(profiles=profiles)
        )
    except Exception as error:  # whatever it is, it is the result
        return {"failed": first_line(error)}
    spent = round(time.perf_counter() - started, 2)
    return {"bytes": manifest.size_bytes, "seconds": spent, "rewritten": rewritten}
