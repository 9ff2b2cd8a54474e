"""Operands of several element types are promoted as torch does it, in a file that readers take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
import torch

from prunec.passes.ir import execute
from support.sessions import exported_function, run_file

Function = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
# A half has 11 bits of mantissa; sums of two libraries differ by some of the last.
HALF_ROUNDING = 3e-3

# h is in half, x in single precision, i are integers.
OPERATIONS: dict[str, Function] = {
    "product": lambda h, x, i: h * x,
    "sum with integers": lambda h, x, i: h + i,
    "quotient of integers": lambda h, x, i: i / 3,
    "number less integers": lambda h, x, i: 1.5 - i,
    "power": lambda h, x, i: h.abs() ** x.clamp(0, 1),
    "power of integers": lambda h, x, i: i**x,
    "power of a number": lambda h, x, i: 2.0**i,
    "stack": lambda h, x, i: torch.stack([x, h]),
    "stack of integers": lambda h, x, i: torch.stack([i, h]),
    "concatenation": lambda h, x, i: torch.cat([h, x], -1),
    "choice": lambda h, x, i: torch.where(i > 1, h, x),
    "choice of a number": lambda h, x, i: torch.where(i > 1, h, -1e4),
    "maximum": lambda h, x, i: torch.maximum(h, x),
    "bound": lambda h, x, i: torch.clamp(h, min=x.mean()),
    "bound of integers": lambda h, x, i: i.clamp(max=2.5),
    "comparison": lambda h, x, i: h < x,
    "comparison with a number": lambda h, x, i: i < 1.5,
    "sum of booleans": lambda h, x, i: (h > 0) + (x > 0),
    "product of booleans": lambda h, x, i: (h > 0) * (x > 0),
    "boolean times half": lambda h, x, i: h * (x > 0),
    "wide softmax": lambda h, x, i: torch.softmax(h, -1, dtype=torch.float32),
    "wide mean": lambda h, x, i: h.mean(-1, dtype=torch.float32),
    "count": lambda h, x, i: (h > 0).sum(-1),
    "root of integers": lambda h, x, i: torch.sqrt(i),
    "table of numbers": lambda h, x, i: h + torch.arange(16),
    "rotation": lambda h, x, i: (
        h * torch.cos(x) + torch.cat([-h[..., 8:], h[..., :8]], -1) * torch.sin(x)
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_mixed_operands_are_promoted(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(4, 16).half(), torch.randn(4, 16), torch.randint(0, 4, (4, 16))
    program, feeds, report = exported_function(OPERATIONS[name], inputs, tmp_path / "model.onnx")
    assert report.readers == ("onnx.checker", "onnxruntime")
    (expected,) = execute(program, feeds).values()
    (found,) = run_file(report.path, feeds).values()
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=HALF_ROUNDING, atol=HALF_ROUNDING)


NARROW_ONLY_WIDE: dict[str, Callable[[torch.Tensor], object]] = {
    "best": lambda h: h.topk(3),
    "sorted": lambda h: h.sort(-1).values,
    "contraction": lambda h: torch.einsum("ij,kj->ik", h, h),
}


@pytest.mark.parametrize("name", NARROW_ONLY_WIDE)
def test_what_onnx_has_not_in_bfloat16_is_computed_in_float32(name: str, tmp_path: Path) -> None:
    values = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    path = tmp_path / "model.onnx"
    program, feeds, _ = exported_function(NARROW_ONLY_WIDE[name], [values], path)
    outputs = ir.load(path).graph.outputs
    expected = execute(program, feeds)
    assert [v.name for v in outputs] == list(expected)
    assert outputs[0].dtype is ir.DataType.BFLOAT16
