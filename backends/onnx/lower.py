"""From an entry point of a program to an ONNX model in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch.export import ExportedProgram

from prunec.backends.onnx.draft import Draft
from prunec.backends.onnx.errors import OnnxError
from prunec.backends.onnx.fold_reshape_sizes import fold_reshape_sizes
from prunec.backends.onnx.fold_small_constants import fold_small_constants
from prunec.backends.onnx.fuse_rms_norm import fuse_rms_norm
from prunec.backends.onnx.fuse_rotary_embedding import fuse_rotary_embedding
from prunec.backends.onnx.label_axes import label_axes
from prunec.backends.onnx.normalise import normalise
from prunec.backends.onnx.pool_whole_planes import pool_whole_planes
from prunec.backends.onnx.quiet import quiet
from prunec.backends.onnx.scale_pooled_windows import scale_pooled_windows
from prunec.backends.onnx.share_key_value_heads import share_key_value_heads
from prunec.backends.onnx.solve_positive import SOLVE, solve_positive, translate_solve
from prunec.backends.onnx.spell_out_complex import spell_out_complex
from prunec.backends.onnx.state_loop_conditions import state_loop_conditions
from prunec.backends.onnx.tidy import tidy
from prunec.backends.onnx.to_exported import LoweredProgram, to_exported
from prunec.backends.onnx.transpose_linear_weights import transpose_linear_weights
from prunec.backends.onnx.view_mask_rows import view_mask_rows
from prunec.backends.onnx.widen_elements import widen_elements
from prunec.passes.ir import Program

OPSET = 23
"""The first with RMSNormalization, RotaryEmbedding and Attention."""

REWRITES: tuple[Callable[[Draft], int], ...] = (
    spell_out_complex,
    solve_positive,
    pool_whole_planes,
    scale_pooled_windows,
    view_mask_rows,
    fuse_rms_norm,
    fuse_rotary_embedding,
    share_key_value_heads,
    transpose_linear_weights,
)


_EXPORTER = tuple(f"torch.onnx._internal.exporter.{name}" for name in ("_registration", "_core"))
"""These log that torchvision is absent, and traces of modules."""

ModelRewrite = Callable[[ir.Model], int]
"""Changes a finished model in place and says how often it applied."""


@dataclass(frozen=True)
class Lowered:
    """One entry point as an ONNX model.

    Attributes:
        model: With its weights.
        rewritten: How often each rewrite applied, by its name.
        seconds: Wall time by stage, in order.
    """

    model: ir.Model
    rewritten: Mapping[str, int]
    seconds: Mapping[str, float]


def lower(
    program: Program, rewrites: Sequence[ModelRewrite] = (), entry: str | None = None
) -> Lowered:
    """Translate an entry point; names and shapes of inputs and outputs are those of its ports.

    Args:
        program: What to translate.
        rewrites: Further rewrites of the finished model that its reader asks for.
        entry: The entry point; the only one where there is one.

    Raises:
        ProgramError: there is no such entry point, or there are several and none is named.
        OnnxError: an operator of the program has no translation.
    """
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def stage(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[name], clock = now - clock, now

    draft = Draft.of(program, entry)
    normalise(draft)
    rewritten = {rewrite.__name__: rewrite(draft) for rewrite in REWRITES}
    stage("rewrite")
    model = _translate(draft)
    stage("translate")
    fold_small_constants(model)
    widen_elements(model)
    fold_reshape_sizes(model)
    label_axes(model, draft.inputs, draft.outputs)
    state_loop_conditions(model)
    tidy(model)
    rewritten |= {rewrite.__name__: rewrite(model) for rewrite in rewrites}
    stage("tidy")
    return Lowered(model, rewritten, seconds)


def _translate(draft: Draft) -> ir.Model:
    """Translate operator by operator; decompose first only where one has no translation."""
    if draft.is_functional():
        with suppress(torch.onnx.OnnxExporterError):
            return _run_exporter(to_exported(draft, LoweredProgram), draft)
    try:
        return _run_exporter(to_exported(draft), draft)
    except torch.onnx.OnnxExporterError as error:
        raise OnnxError(f"the program cannot be translated to ONNX: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What the exporter says, and what made it say so."""
    first = cause = error.__cause__ or error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    said = [(str(e).strip() or type(e).__name__).splitlines()[0] for e in (first, cause)]
    return ": ".join(dict.fromkeys(said))


def _run_exporter(exported: ExportedProgram, draft: Draft) -> ir.Model:
    with quiet(*_EXPORTER):
        result = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            optimize=False,
            verbose=False,
            input_names=[p.name for p in draft.inputs],
            output_names=[p.name for p in draft.outputs],
            custom_translation_table={SOLVE: translate_solve},
        )
    return result.model  # type: ignore[union-attr]
