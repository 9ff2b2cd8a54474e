"""One side as ONNX files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prunec.backends.onnx import export_experts, export_onnx
from prunec.backends.onnx.lower import ModelRewrite
from prunec.passes.ir import DECODE, PREFILL, Program
from prunec.passes.ir.chosen import has_choice

Files = Mapping[str, Path]
"""The file of each phase, ``prefill`` and ``decode``; one file may serve both."""


def export_side(program: Program, folder: Path, rewrites: Sequence[ModelRewrite] = ()) -> Files:
    """Write a program with one entry point, or with prefill and decode, into an own folder.

    Args:
        program: With its weights on the CPU.
        folder: Where.
        rewrites: What the reader asks for.
    """
    if has_choice(program):
        export_experts(program, folder, rewrites)
        return {PREFILL: folder / "prefill.onnx", DECODE: folder / "decode.onnx"}
    export_onnx(program, folder / "model.onnx", rewrites)
    return dict.fromkeys((PREFILL, DECODE), folder / "model.onnx")
