"""Tiny models whose prompt chooses units: whether every library gives what PyTorch on the CPU does.

In reduced precision units next to the threshold change places, so logits alone are compared there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch

from gpu_bench.experts.case import Lengths, choose_experts
from gpu_bench.parity import BFLOAT16, FLOAT32, compare, walk_cached
from gpu_bench.shapes import SHAPES
from gpu_bench.weights import fill
from prunec.backends.runner import Runner
from prunec.backends.torch import ExpertsRunner
from prunec.backends.torch.place import place
from prunec.frontend.export import trace_config
from prunec.passes.ir import PREFILL, Program, cast, language_feeds
from prunec.passes.ir.run import execute

PARITY_SHAPES = ("tiny", "tiny-gelu")

LENGTHS = Lengths(prompt=24, new_tokens=(4,), points=2, batch=3)
"""What engines for the tiny models must accept."""


@cache
def tiny_program(shape: str) -> Program:
    """Prefill and decode of a tiny model in float32, on the CPU."""
    bare = choose_experts(trace_config(SHAPES[shape].config()), keep=0.5)
    wide = {side: cast(program, torch.float32) for side, program in bare.items()}
    return fill(wide, "cpu", "cpu")["chosen"]


def each_parity(
    open_runner: Callable[[str], Runner], tolerance: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a library makes of each tiny model, against float32 on the CPU.

    Args:
        open_runner: From the shape's name to the model of `tiny_program` in the library.
        tolerance: Of the relative error.
    """
    for shape in PARITY_SHAPES:
        expected = walk_cached(ExpertsRunner(tiny_program(shape)))
        yield shape, compare(walk_cached(open_runner(shape)), expected, tolerance)


@torch.no_grad()
def check_torch(device: str) -> dict[str, Any]:
    """Equal indices and logits in float32, and logits in bfloat16."""
    torch.backends.cuda.matmul.allow_tf32 = False

    def in_precision(dtype: torch.dtype) -> Callable[[str], Runner]:
        return lambda shape: ExpertsRunner(cast(tiny_program(shape), dtype), device)

    return {
        "indices": {shape: _compare_indices(shape, device) for shape in PARITY_SHAPES},
        "float32_against_cpu": dict(each_parity(in_precision(torch.float32), FLOAT32)),
        "bfloat16_against_float32": dict(each_parity(in_precision(torch.bfloat16), BFLOAT16)),
    }


def _compare_indices(shape: str, device: str) -> dict[str, Any]:
    program = tiny_program(shape)
    here, there = chosen_indices(program, "cpu"), chosen_indices(program, device)
    differing = [name for name in here if not torch.equal(here[name], there[name])]
    return {"compared": len(here), "differing": differing, "holds": not differing}


def chosen_indices(program: Program, device: str) -> dict[str, torch.Tensor]:
    """Which units a left-padded batch of random prompts chooses, by port, on the CPU."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(100, (3, 24), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1, :9] = 0
    placed = place(program, device)
    prefill = placed.entry(PREFILL)
    outputs = execute(placed, language_feeds(prefill, tokens.to(device), mask.to(device)), prefill)
    return {n: t.cpu() for n, t in outputs.items() if t.dtype == torch.int64}
