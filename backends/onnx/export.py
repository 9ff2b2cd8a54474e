"""From a program to an ONNX file with its weights beside it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from prunec.backends.onnx.check import require_readable
from prunec.backends.onnx.lower import ModelRewrite, lower
from prunec.passes.ir import Program


@dataclass(frozen=True)
class OnnxReport:
    """What an export wrote and where its time went.

    Attributes:
        path: The ONNX file; its weights are in ``<path>.data``.
        node_count: Nodes of the main graph.
        size_bytes: Of both files together.
        rewritten: How often each rewrite applied, by its name.
        seconds: Wall time by stage, in order.
        readers: What took the file: ``onnx.checker``, and ``onnxruntime`` unless it has no kernels
            on the CPU, as for bfloat16.
    """

    path: Path
    node_count: int
    size_bytes: int
    rewritten: Mapping[str, int]
    seconds: Mapping[str, float]
    readers: tuple[str, ...]


def export_onnx(
    program: Program,
    path: Path,
    rewrites: Sequence[ModelRewrite] = (),
    *,
    entry: str | None = None,
) -> OnnxReport:
    """Write a program as standard ONNX: ``path`` and ``<path>.data``, both or none.

    Names and shapes of inputs and outputs are those of the program's ports; logits have the
    program's own element type. The file is checked and opened in ONNX Runtime first. For
    an engine, pass the rewrites `FOR_TENSORRT`.

    Args:
        program: What to write.
        path: Where to write.
        rewrites: Further rewrites of the finished model that its reader asks for, such as
            `prunec.backends.ort.fold_cache`.
        entry: The entry point to write; the only one where there is one.

    Raises:
        ProgramError: there is no such entry point, or there are several and none is named.
        OnnxError: an operator of the program has no translation, or a reader refuses the file;
            what was there before is untouched.
        OSError: the folder cannot be written; what was there before is untouched.
    """
    lowered = lower(program, rewrites, entry)
    seconds = dict(lowered.seconds)
    size_bytes, readers = _write(lowered.model, path, seconds)
    return OnnxReport(
        path, len(lowered.model.graph), size_bytes, lowered.rewritten, seconds, readers
    )


def _write(model: ir.Model, path: Path, seconds: dict[str, float]) -> tuple[int, tuple[str, ...]]:
    """Write both files beside each other under a temporary folder, check them, then move them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = path.with_name(f"{path.name}.data")
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial"))
    try:
        started = time.perf_counter()
        ir.save(model, folder / path.name, external_data=data.name, max_workers=2)
        seconds["write"] = time.perf_counter() - started
        readers = require_readable(folder / path.name, model)
        seconds["check"] = time.perf_counter() - started - seconds["write"]
        size_bytes = sum(file.stat().st_size for file in folder.iterdir())
        path.unlink(missing_ok=True)  # never an old graph beside new weights
        (folder / data.name).replace(data)
        (folder / path.name).replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return size_bytes, readers
