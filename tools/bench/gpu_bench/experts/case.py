"""The two programs that the section on experts compares, and the lengths that it runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from gpu_bench.experts.bounds import StepBytes, past_lengths
from gpu_bench.shapes import require_shape
from gpu_bench.weights import fill
from prunec.frontend.export import trace_config, trace_model
from prunec.frontend.sources import find_checkpoint
from prunec.passes.analysis.cost import measure
from prunec.passes.contract import Context
from prunec.passes.ir import Program, cast
from prunec.passes.manager import run_pipeline
from prunec.passes.spec import parse_pipeline

SIDES = ("dense", "chosen")


@dataclass(frozen=True)
class Lengths:
    """What is run.

    Attributes:
        prompt: Tokens of the prompt.
        new_tokens: How many are generated, in each generation that is added up.
        points: At how many past lengths a decode step is measured.
        batch: Prompts that are run together.
    """

    prompt: int
    new_tokens: Sequence[int]
    points: int
    batch: int = 1

    def __post_init__(self) -> None:
        if self.prompt < 1 or self.batch < 1 or min(self.new_tokens, default=0) < 1:
            raise ValueError(
                f"prompt {self.prompt}, batch {self.batch} and new tokens {self.new_tokens} must "
                "be at least 1"
            )

    @property
    def pasts(self) -> list[int]:
        """The past lengths at which a decode step is measured."""
        return past_lengths(self.prompt, max(self.new_tokens), self.points)


class ExpertsCase:
    """A model without weights, whole and with chosen experts.

    Args:
        options: The command line of ``gpu.py``.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.shape = options.shape
        self.keep = options.experts_keep
        self.lengths = Lengths(
            options.experts_prompt_tokens,
            options.experts_new_tokens,
            options.experts_points,
            options.batch,
        )
        self.model = options.model
        self.max_onnx_gib = options.max_onnx_gib
        self.warmup, self.repeats = options.warmup, options.repeats

    @cached_property
    def bare(self) -> dict[str, Program]:
        """Both sides; without weights unless the command line names a checkpoint."""
        return choose_experts(self._trace(), self.keep)

    def sides(
        self,
        dtype: torch.dtype,
        made_on: torch.device | str,
        kept_on: torch.device | str | None = None,
    ) -> dict[str, Program]:
        """Both sides in a precision with weights, which they share."""
        reduced = {side: cast(program, dtype) for side, program in self.bare.items()}
        return fill(reduced, made_on, made_on if kept_on is None else kept_on)

    @cached_property
    def reduced(self) -> dict[str, Program]:
        """Both sides in 16 bits as `bare` has them, to count bytes of."""
        return {side: cast(program, torch.bfloat16) for side, program in self.bare.items()}

    @property
    def step_bytes(self) -> StepBytes:
        """What a decode step of either side reads, in 16 bits."""
        return StepBytes.of(self.reduced["dense"], self.reduced["chosen"], self.lengths.batch)

    @property
    def file_bytes(self) -> int:
        """What one side's weights take as a file in 16 bits."""
        return measure(self.reduced["dense"]).weight_bytes

    @property
    def open_bytes(self) -> int:
        """What the dense model, prefill and decode take on a device when all are open."""
        return 2 * self.file_bytes + self.step_bytes.chosen

    def _trace(self) -> Program:
        if self.model:
            return trace_model(find_checkpoint(self.model).load_model())
        return trace_config(require_shape(self.shape).config())


def choose_experts(traced: Program, keep: float) -> dict[str, Program]:
    """The cleaned program, and what GRIFFIN makes of it."""
    dense = run_pipeline(traced, parse_pipeline("clean"), Context())
    pass_text = f"select-experts{{keep={keep}}}"
    return {
        "dense": dense,
        "chosen": run_pipeline(dense, parse_pipeline(pass_text), Context()),
    }
