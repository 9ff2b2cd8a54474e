"""Engines on the GPU: build, parity with PyTorch, and how long dense and pruned ones take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gpu_bench.bench import SIDES, Bench
from gpu_bench.guard import SkippedError
from gpu_bench.parity import BFLOAT16, compare, walk_cached, walk_whole
from gpu_bench.timing import own_stream, time_generation, time_in_turn
from prunec.backends.onnx import export_onnx
from prunec.backends.tensorrt import (
    EngineError,
    EngineOptions,
    TensorRTRunner,
    build_engine,
    language_profiles,
    require_buildable,
)
from prunec.backends.torch import TorchRunner


def run_tensorrt(bench: Bench) -> dict[str, Any]:
    """Everything with ``tensorrt``."""
    return _run(bench, "tensorrt")


def run_tensorrt_rtx(bench: Bench) -> dict[str, Any]:
    """Everything with ``tensorrt_rtx``."""
    return _run(bench, "tensorrt_rtx")


def _run(bench: Bench, library: str) -> dict[str, Any]:
    options = EngineOptions(
        library,
        profiles=language_profiles(
            batch_size=max(3, bench.options.batch),
            new_tokens=max(16, bench.options.prompt_tokens),
            max_length=bench.max_length,
        ),
    )
    try:
        require_buildable(options)
    except EngineError as error:
        raise SkippedError(str(error)) from error
    results: dict[str, Any] = {}
    runners: dict[str, TensorRTRunner] = {}
    for side in SIDES:
        results[side], runners[side] = _build(bench, side, options)
    for phase, new, past in (
        ("prefill", bench.options.prompt_tokens, 0),
        ("decode", 1, bench.options.prompt_tokens),
    ):
        calls = {s: _call(runners[s], bench.options.batch, new, past) for s in SIDES}
        with own_stream("cuda"):
            timed = time_in_turn(calls, bench.options.warmup, bench.options.repeats)
        results[phase] = {"new_tokens": new, "past_tokens": past, **timed}
    results["generation"] = time_generation(bench, runners)
    return results


def _build(
    bench: Bench, side: str, options: EngineOptions
) -> tuple[dict[str, Any], TensorRTRunner]:
    onnx = bench.folder / f"{options.library}-{side}.onnx"
    engine = onnx.with_suffix(".engine")
    export_onnx(bench.program(side, torch.bfloat16), onnx)
    manifest = build_engine(onnx, engine, options)
    runner = TensorRTRunner(engine)
    expected = walk_whole(TorchRunner(bench.program(side, torch.float32)))
    found = {
        "library": f"{manifest.library} {manifest.library_version}",
        "build_seconds": manifest.seconds,
        "size_bytes": manifest.size_bytes,
        "bfloat16_against_float32_torch": compare(walk_cached(runner), expected, BFLOAT16),
    }
    return found, runner


def _call(runner: TensorRTRunner, batch: int, new: int, past: int) -> Callable[[], object]:
    """One step on fixed inputs that lie on the GPU."""
    tokens = torch.zeros(batch, new, dtype=torch.int64)
    mask = torch.ones(batch, past + new, dtype=torch.int64)
    feeds = runner.feeds(tokens, mask, runner.zero_cache(batch, past))
    return lambda: runner.run(feeds)
