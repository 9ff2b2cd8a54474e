"""Files in ONNX Runtime on the CPU, on tensors by the names of their ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from prunec.backends.onnx import OnnxReport, export_onnx
from prunec.backends.onnx.lower import ModelRewrite
from prunec.frontend.export import trace_module
from prunec.passes.ir import Program


def run_file(path: Path, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The outputs of a file by name; what it takes no input of is left out."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    taken = {i.name for i in session.get_inputs()}
    fed = {n: np.ascontiguousarray(t) for n, t in feeds.items() if n in taken}
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, session.run(None, fed)), strict=True))


class Function(torch.nn.Module):
    """A module that computes a function of its inputs."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs)  # type: ignore[operator,no-any-return]


def exported_function(
    function: object,
    inputs: Sequence[torch.Tensor],
    path: Path,
    rewrites: Sequence[ModelRewrite] = (),
) -> tuple[Program, dict[str, torch.Tensor], OnnxReport]:
    """Write a function's program; what the program takes, by name, and what was written."""
    program = trace_module(Function(function), tuple(inputs))
    feeds = dict(zip((p.name for p in program.main.inputs), inputs, strict=True))
    return program, feeds, export_onnx(program, path, rewrites)
