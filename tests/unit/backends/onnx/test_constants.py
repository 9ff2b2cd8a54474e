"""What the exporter spells as a computation on constants is one in the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
import torch

from prunec.backends.onnx import FOR_TENSORRT
from prunec.backends.tensorrt import (
    EngineError,
    EngineOptions,
    build_engine,
    program_profiles,
    require_buildable,
)
from prunec.passes.ir import execute
from support.sessions import exported_function, run_file

ROUNDING = 1e-5
REDUCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda h: h.mean(1),
    "mean of the last": lambda h: h - h.mean(-1, keepdim=True),
    "mean of two": lambda h: h + h.mean((1, 2), keepdim=True),
    "pooling": lambda h: torch.nn.functional.adaptive_avg_pool2d(h[None], 1),
    "sum": lambda h: h.sum(1),
    "greatest": lambda h: h.amax(1),
    "greatest with place": lambda h: h.max(1).values,
    "least with place": lambda h: h.min(-1).values,
    "variance": lambda h: h / (h.var(-1, keepdim=True) + 1),
    "norm": lambda h: torch.nn.functional.normalize(h, dim=-1),
    "other norm": lambda h: torch.linalg.vector_norm(h, ord=1, dim=(1, 2)),
    "log of sums": lambda h: h + h.logsumexp(-1, keepdim=True),
    "product": lambda h: h.prod(1),
    "any": lambda h: (h > 0).any(1),
    "root mean square": lambda h: h * torch.rsqrt(h.float().pow(2).mean(-1, keepdim=True) + 1e-6),
}


def inputs(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_the_axes_of_a_reduction_are_constants(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    program, feeds, _ = exported_function(REDUCTIONS[name], [inputs()], path)
    reductions = [n for n in ir.load(path).graph if n.op_type.startswith("Reduce")]
    assert reductions or name in ("pooling", "log of sums")
    axes = [n.inputs[1] for n in reductions if len(n.inputs) > 1]
    assert all(a is not None and ir.convenience.get_const_tensor(a) is not None for a in axes)
    (expected,) = execute(program, feeds).values()
    (found,) = run_file(path, feeds).values()
    torch.testing.assert_close(found, expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.tensorrt
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_an_engine_takes_every_reduction(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    program, _, _ = exported_function(REDUCTIONS[name], [inputs(dtype)], path, FOR_TENSORRT)
    options = EngineOptions(profiles=program_profiles(program.main.inputs))
    try:
        require_buildable(options)
    except EngineError as error:
        pytest.skip(f"no TensorRT library builds here: {error}")
    assert build_engine(path, tmp_path / "model.engine", options).size_bytes > 0
