"""Experts that the prompt chooses (GRIFFIN) on the GPU: the sections and what they compare."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import torch

from gpu_bench.bench import Bench
from gpu_bench.experts.bounds import paper_figures
from gpu_bench.experts.case import ExpertsCase
from prunec.passes.analysis.cost import measure
from prunec.passes.ir.chosen import chosen_units

_METHOD = (
    "prefill: the time to the first token but for its choice from the logits, which stay on the "
    "device. A generation is added up: the prefill, then one step for each further token, its time "
    "interpolated between single steps that were measured at fixed past lengths. Each step copies "
    "the cache into one that is longer by a token. ratio: chosen over dense; speedup: the inverse."
)


def describe(bench: Bench) -> dict[str, Any]:
    """What the sections have in common: the case, its bounds, and the paper's own figures."""
    case = bench.experts
    return {
        "case": describe_case(case),
        "paper": paper_figures(case.shape) if case.model is None else None,
        "method": _METHOD,
    }


def describe_case(case: ExpertsCase) -> dict[str, Any]:
    """Sizes and bounds of both sides, in 16 bits."""
    units = chosen_units(case.reduced["chosen"])
    return {
        "shape": case.shape if case.model is None else None,
        "model": case.model,
        "keep": case.keep,
        "units": [[found.count, found.units] for found in units],
        "prompt_tokens": case.lengths.prompt,
        "new_tokens": list(case.lengths.new_tokens),
        "batch": case.lengths.batch,
        "past_lengths": case.lengths.pasts,
        "weight_bytes": measure(case.reduced["dense"]).weight_bytes,
        "gathered_bytes": sum(found.part_bytes for found in units),
        "decode_bytes": {"dense": case.step_bytes.dense, "chosen": case.step_bytes.chosen},
        "cache_bytes_per_token": case.step_bytes.cache_per_token,
        "bounds": {past: case.step_bytes.bounds(past) for past in case.lengths.pasts},
    }


def check_parity(bench: Bench) -> dict[str, Any]:
    """PyTorch on the GPU against the CPU; tiny models, whatever the shape."""
    from gpu_bench.experts.parity import check_torch

    return check_torch("cuda")


def measure_torch(bench: Bench) -> dict[str, Any]:
    """PyTorch, eager and as CUDA graphs."""
    from gpu_bench.experts.torch import measure as measure_part

    _free_device()
    return measure_part(bench.experts, "cuda")


def measure_onnxruntime(bench: Bench) -> dict[str, Any]:
    """ONNX Runtime with the CUDA provider."""
    from gpu_bench.experts.onnxruntime import measure as measure_part

    _free_device()
    with tempfile.TemporaryDirectory(prefix="prunec-experts-") as folder:
        return measure_part(bench.experts, Path(folder), "cuda")


def measure_tensorrt(bench: Bench) -> dict[str, Any]:
    """Engines of ``tensorrt``."""
    return _measure_engines(bench, "tensorrt")


def measure_tensorrt_rtx(bench: Bench) -> dict[str, Any]:
    """Engines of ``tensorrt_rtx``."""
    return _measure_engines(bench, "tensorrt_rtx")


def _measure_engines(bench: Bench, library: str) -> dict[str, Any]:
    from gpu_bench.experts.tensorrt import measure as measure_part

    _free_device()
    with tempfile.TemporaryDirectory(prefix="prunec-experts-") as folder:
        return measure_part(bench.experts, Path(folder), library)


def _free_device() -> None:
    """Give back what an earlier section held: these models want most of the memory."""
    gc.collect()
    torch.cuda.empty_cache()
