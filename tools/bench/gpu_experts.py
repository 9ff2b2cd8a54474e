"""Experts that the prompt chooses (GRIFFIN) on the GPU: parity, memory, and the paper's cases."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_experts_bounds import paper_figures
from gpu_experts_case import ExpertsCase
from gpu_guard import guarded
from gpu_programs import Bench

from prunec.passes.analysis.cost import measure
from prunec.passes.ir.chosen import chosen_units

_METHOD = (
    "A generation is added up: the prefill, then one step for each further token, its time "
    "interpolated between single steps that were measured at fixed past lengths. Each step copies "
    "the cache into one that is longer by a token. ratio: chosen over dense; speedup: the inverse."
)


def run(bench: Bench) -> dict[str, Any]:
    """Every part that the command line wants, each with a fresh device; the rest is skipped."""
    return run_parts(ExpertsCase(bench.options), bench.options.experts_parts, "cuda")


def run_parts(case: ExpertsCase, parts: list[str], device: str) -> dict[str, Any]:
    """Some parts on a device, and what is compared in them."""
    results = {"case": describe(case), "paper": paper_figures(case.shape), "method": _METHOD}
    for name in parts:
        results[name] = guarded(f"experts/{name}", partial(_run, name, case, device))
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return results


def describe(case: ExpertsCase) -> dict[str, Any]:
    """Sizes and bounds of both sides, in 16 bits."""
    dense, chosen = case.reduced["dense"], case.reduced["chosen"]
    units = chosen_units(chosen)
    return {
        "shape": case.shape,
        "model": case.model,
        "keep": case.keep,
        "units": [[found.count, found.units] for found in units],
        "prompt_tokens": case.lengths.prompt,
        "new_tokens": list(case.lengths.new_tokens),
        "batch": case.lengths.batch,
        "past_lengths": case.lengths.pasts,
        "weight_bytes": measure(dense).weight_bytes,
        "gathered_bytes": sum(found.part_bytes for found in units),
        "decode_bytes": {"dense": case.step_bytes.dense, "chosen": case.step_bytes.chosen},
        "cache_bytes_per_token": case.step_bytes.cache_per_token,
        "bounds": {past: case.step_bytes.bounds(past) for past in case.lengths.pasts},
    }


def _run(name: str, case: ExpertsCase, device: str) -> dict[str, Any]:
    """One part; its library is imported when its turn comes."""
    if name == "parity":
        from gpu_experts_parity import check_torch

        return check_torch(device)
    if name == "torch":
        from gpu_experts_torch import measure as measure_torch

        return measure_torch(case, device)
    with tempfile.TemporaryDirectory(prefix="prunec-experts-") as folder:
        return _files_part(name)(case, Path(folder), device)


def _files_part(name: str) -> Callable[[ExpertsCase, Path, str], dict[str, Any]]:
    if name == "onnxruntime":
        from gpu_experts_ort import measure as measure_onnxruntime

        return measure_onnxruntime
    from gpu_experts_tensorrt import measure as measure_tensorrt

    return lambda case, folder, _: measure_tensorrt(case, folder, name)
