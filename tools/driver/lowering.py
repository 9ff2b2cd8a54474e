"""Write a program as ONNX and as engines, whether it has one graph or a prompt chooses in two."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from prunec.backends.genai import write_genai_folder
from prunec.backends.onnx import FOR_TENSORRT, export_experts, export_onnx
from prunec.backends.ort import fold_cache
from prunec.backends.tensorrt import (
    EngineManifest,
    EngineOptions,
    build_engine,
    build_experts_engines,
)
from prunec.backends.tensorrt.progress import BuildProgress
from prunec.passes.ir import Program, Role
from prunec.passes.ir.chosen import has_choice


def write_onnx(program: Program, folder: Path, *, genai: bool) -> Mapping[str, int]:
    """Write what ONNX Runtime runs: ``model.onnx``, or ``prefill.onnx`` and ``decode.onnx``.

    Args:
        program: In the precision of the files.
        folder: Where to write.
        genai: Whether onnxruntime-genai can load the folder; it takes one graph with a cache, so
            not where a prompt chooses, and no model that does not write.

    Returns:
        How many nodes each file has.
    """
    if has_choice(program):
        return export_experts(program, folder, rewrites=(fold_cache,)).node_counts
    report = export_onnx(program, folder / "model.onnx", rewrites=(fold_cache,))
    if genai and program.main.ports(Role.CACHE)[0]:
        write_genai_folder(program, folder)
    return {"model": report.node_count}


def build_engines(
    program: Program, folder: Path, options: EngineOptions, progress: BuildProgress
) -> Mapping[str, EngineManifest]:
    """Build ``model.engine``, or ``prefill.engine`` and ``decode.engine`` with what ties them.

    Returns:
        The manifest of each engine by its name.
    """
    source = folder / "source"
    if has_choice(program):
        export_experts(program, source, rewrites=FOR_TENSORRT)
        built = build_experts_engines(source, folder, options, progress)
    else:
        onnx = source / "model.onnx"
        export_onnx(program, onnx, FOR_TENSORRT)
        built = {"model": build_engine(onnx, folder / "model.engine", options, progress)}
    shutil.rmtree(source)
    return built
