"""PyTorch on the GPU: parity with the CPU, and how long dense and pruned programs take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gpu_bench.bench import SIDES, Bench
from gpu_bench.calls import entry_call, random_cache
from gpu_bench.parity import BFLOAT16, FLOAT32, compare, walk_cached, walk_whole
from gpu_bench.timing import own_stream, time_generation, time_graphs, time_in_turn
from prunec.backends.torch import TorchRunner
from prunec.backends.torch.place import place
from prunec.passes.ir import Program


def cuda_runner(program: Program) -> TorchRunner:
    """A runner on the GPU."""
    return TorchRunner(program, "cuda")


@torch.no_grad()
def check_parity(bench: Bench) -> dict[str, Any]:
    """GPU against CPU in float32, bfloat16 against float32, cached steps against one pass."""
    torch.backends.cuda.matmul.allow_tf32 = False
    results: dict[str, Any] = {}
    for side in SIDES:
        wide = bench.program(side, torch.float32)
        expected = walk_whole(TorchRunner(wide))
        on_gpu = cuda_runner(wide)
        reduced = cuda_runner(bench.program(side, torch.bfloat16))
        results[side] = {
            "float32_against_cpu": compare(walk_whole(on_gpu), expected, FLOAT32),
            "float32_cached_against_whole": compare(walk_cached(on_gpu), expected, FLOAT32),
            "bfloat16_against_float32": compare(walk_cached(reduced), expected, BFLOAT16),
        }
    return results


@torch.no_grad()
def measure_latency(bench: Bench) -> dict[str, Any]:
    """Prefill and decode of both sides in bfloat16, launched eagerly and as CUDA graphs."""
    options = bench.options
    placed = {s: place(bench.program(s, torch.bfloat16), "cuda") for s in SIDES}
    results: dict[str, Any] = {"dtype": "bfloat16", "batch": options.batch}
    with own_stream("cuda"):
        for phase, new, past in (
            ("prefill", options.prompt_tokens, 0),
            ("decode", 1, options.prompt_tokens),
        ):
            eager = {s: _call(placed[s], options.batch, new, past) for s in SIDES}
            results[phase] = {
                "new_tokens": new,
                "past_tokens": past,
                "eager": time_in_turn(eager, options.warmup, options.repeats),
                "cuda_graph": time_graphs(eager, options.warmup, options.repeats),
            }
        runners = {s: TorchRunner(p, "cuda") for s, p in placed.items()}
        results["generation"] = time_generation(bench, runners)
    return results


def _call(program: Program, batch: int, new: int, past: int) -> Callable[[], object]:
    """One step on fixed inputs that lie on the GPU."""
    tokens = torch.zeros(batch, new, dtype=torch.int64, device="cuda")
    cache = random_cache(program.main, batch, past, "cuda")
    return entry_call(program, program.main, tokens, past, cache)
