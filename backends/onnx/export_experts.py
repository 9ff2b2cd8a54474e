"""From a program whose prompt chooses units to a folder with both of its models."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from prunec.backends.experts import MANIFEST, ExpertsManifest
from prunec.backends.onnx.check import require_readable
from prunec.backends.onnx.lower import Lowered, ModelRewrite, lower
from prunec.backends.onnx.weight_file import WeightFile
from prunec.passes.ir import Program

WEIGHTS = "weights.data"
"""The file that both models keep their weights in."""


@dataclass(frozen=True)
class ExpertsReport:
    """What an export wrote.

    Attributes:
        folder: Holds ``prefill.onnx``, ``decode.onnx``, ``weights.data`` and ``experts.json``.
        node_counts: Nodes of the main graph, by entry point.
        size_bytes: Of all files together.
        rewritten: How often each rewrite applied, by entry point and name.
        seconds: Wall time.
        readers: What took each file, by entry point; see `OnnxReport`.
    """

    folder: Path
    node_counts: Mapping[str, int]
    size_bytes: int
    rewritten: Mapping[str, Mapping[str, int]]
    seconds: float
    readers: Mapping[str, tuple[str, ...]]


def export_experts(
    program: Program, folder: Path, rewrites: Sequence[ModelRewrite] = ()
) -> ExpertsReport:
    """Write both entry points as standard ONNX over one file of weights, with a manifest.

    What both read, such as attention and embeddings, is written once. Other files of the folder
    are left alone.

    Args:
        program: With the entry points prefill and decode (`select-experts`).
        folder: Where to write.
        rewrites: Further rewrites of each model that its reader asks for.

    Raises:
        ProgramError: the program has other entry points.
        OnnxError: an operator of the program has no translation, or a reader refuses a file;
            what was there before is untouched.
        OSError: the folder cannot be written; what was there before is untouched.
    """
    manifest = ExpertsManifest.of(program, ".onnx")
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder, prefix=".experts.", suffix=".partial"))
    made: dict[str, Lowered] = {}
    try:
        with WeightFile(partial / WEIGHTS) as weights:
            for name, entry in manifest.entries.items():
                made[name] = lower(program, rewrites, name)
                weights.take(made[name].model)
                ir.save(made[name].model, partial / entry.file)
        readers = {
            name: require_readable(partial / manifest.entries[name].file, lowered.model)
            for name, lowered in made.items()
        }
        (partial / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        size_bytes = sum(file.stat().st_size for file in partial.iterdir())
        (folder / MANIFEST).unlink(missing_ok=True)  # never an old manifest beside new models
        for file in sorted(partial.iterdir(), key=lambda f: f.name == MANIFEST):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return ExpertsReport(
        folder,
        {name: len(lowered.model.graph) for name, lowered in made.items()},
        size_bytes,
        {name: lowered.rewritten for name, lowered in made.items()},
        time.perf_counter() - started,
        readers,
    )
