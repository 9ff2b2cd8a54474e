"""ONNX Runtime on the GPU: parity with PyTorch, and how long dense and pruned models take."""

from __future__ import annotations

from typing import Any

import torch

from gpu_bench.bench import SIDES, Bench
from gpu_bench.guard import SkippedError
from gpu_bench.parity import compare, walk_cached, walk_whole
from gpu_bench.timing import time_generation
from prunec.backends.torch import TorchRunner

# A float16 has 11 bits: 0.05 % in each of some hundred roundings that partly cancel.
FLOAT16 = 0.02


def run(bench: Bench) -> dict[str, Any]:
    """Export in float16, run with the CUDA provider, compare, and time generation."""
    try:
        import onnxruntime
    except ImportError as error:
        raise SkippedError(f"onnxruntime: {error}") from error
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise SkippedError(
            f"ONNX Runtime {onnxruntime.__version__} was built without the CUDA provider; "
            f"it has {onnxruntime.get_available_providers()}"
        )
    from prunec.backends.onnx import export_onnx
    from prunec.backends.ort import OrtRunner

    results: dict[str, Any] = {"dtype": "float16"}
    runners = {}
    for side in SIDES:
        path = bench.folder / f"onnxruntime-{side}.onnx"
        export_onnx(bench.program(side, torch.float16), path)
        runners[side] = OrtRunner(path, ["CUDAExecutionProvider", "CPUExecutionProvider"])
        if runners[side].name != "onnxruntime/cuda":
            raise SkippedError(f"the CUDA provider does not load: {runners[side].name} took over")
        expected = walk_whole(TorchRunner(bench.program(side, torch.float32)))
        results[side] = compare(walk_cached(runners[side]), expected, FLOAT16)
    results["generation"] = time_generation(bench, runners)
    return results
