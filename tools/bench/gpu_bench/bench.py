"""The dense and the pruned program that every section compares."""

from __future__ import annotations

import argparse
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from gpu_bench.experts.case import ExpertsCase
from gpu_bench.guard import SkippedError
from gpu_bench.shapes import require_shape
from prunec.frontend.export import trace_model
from prunec.frontend.sources import find_checkpoint
from prunec.passes.analysis.cost import measure
from prunec.passes.contract import Context
from prunec.passes.ir import Program, cast
from prunec.passes.manager import run_pipeline
from prunec.passes.spec import parse_pipeline

SIDES = ("dense", "pruned")


class Bench:
    """Programs and sizes of one run.

    Args:
        options: The command line of ``gpu.py``.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self._folder = tempfile.TemporaryDirectory(prefix="prunec-gpu-")
        self.folder = Path(self._folder.name)

    @cached_property
    def programs(self) -> dict[str, Program]:
        """Both sides in float32, on the CPU."""
        dense = run_pipeline(trace_model(self._model()), parse_pipeline("clean"), Context())
        prune = (
            f"score{{criterion=magnitude}},allocate{{keep={self.options.keep}}},remove-structures"
        )
        pruned = run_pipeline(dense, parse_pipeline(prune), Context())
        return dict(zip(SIDES, (dense, pruned), strict=True))

    @cached_property
    def experts(self) -> ExpertsCase:
        """What the sections on experts compare."""
        return ExpertsCase(self.options)

    def close(self) -> None:
        """Remove the folder."""
        self._folder.cleanup()

    @cached_property
    def max_length(self) -> int:
        """The most tokens that any check or measurement puts into the cache."""
        wanted: int = self.options.prompt_tokens + self.options.new_tokens + 1
        return max(64, wanted)

    def program(self, side: str, dtype: torch.dtype) -> Program:
        """One side in a precision, on the CPU."""
        return cast(self.programs[side], dtype)

    def describe(self) -> dict[str, Any]:
        """Sizes of both sides."""
        return {side: measure(program).to_json() for side, program in self.programs.items()}

    def _model(self) -> torch.nn.Module:
        if self.options.model:
            return find_checkpoint(self.options.model).load_model()
        from transformers import AutoModelForCausalLM

        shape = require_shape(self.options.shape)
        if not shape.is_for_cpu:
            raise SkippedError(
                f"{self.options.shape} is too large for float32 on the CPU, with which this "
                "section compares: run it with --only experts"
            )
        torch.manual_seed(0)
        model: torch.nn.Module = AutoModelForCausalLM.from_config(
            shape.config(), dtype=torch.float32
        )
        return model.eval()


def describe(bench: Bench) -> dict[str, Any]:
    """Sizes of the dense and the pruned program."""
    return bench.describe()
