"""Attention in the operators that every engine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from prunec.backends.onnx import FOR_TENSORRT, export_onnx
from prunec.backends.onnx.spell_out_attention import spell_out_attention
from prunec.backends.tensorrt import (
    EngineError,
    EngineOptions,
    build_engine,
    program_profiles,
    require_buildable,
)
from prunec.passes.ir import Program, execute
from support.models import small_program
from support.sessions import exported_function, run_file
from support.uneven import narrow_value_program

ROUNDING = {torch.float32: 1e-5, torch.float16: 3e-3}
SHOWN = torch.rand(2, 1, 7, 9, generator=torch.Generator().manual_seed(1)) > 0.4
SHOWN[0, 0, 3] = False  # a row of padding sees nothing
MASKS = {
    "none": None,
    "shown": SHOWN,
    "added": torch.zeros(2, 1, 7, 9).masked_fill(~SHOWN, torch.finfo(torch.float16).min),
}


def attend(**options: Any) -> Callable[..., torch.Tensor]:
    def function(query: Any, key: Any, value: Any, mask: Any = None) -> torch.Tensor:
        return scaled_dot_product_attention(query, key, value, mask, enable_gqa=True, **options)

    return function


def operands(dtype: torch.dtype, width: int, value_width: int, heads: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 4, 7, width), (2, heads, 9, width), (2, heads, 9, value_width)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("value_width", "heads"), [(12, 4), (20, 2), (8, 1)])
def test_it_computes_what_attention_computes(
    dtype: torch.dtype, mask: str, value_width: int, heads: int, tmp_path: Path
) -> None:
    path, given = tmp_path / "model.onnx", MASKS[mask]
    inputs = operands(dtype, 12, value_width, heads)
    if given is not None:
        inputs.append(given if given.dtype == torch.bool else given.to(dtype))
    program, feeds, report = exported_function(attend(), inputs, path, [spell_out_attention])
    assert report.rewritten["spell_out_attention"] == 1
    found = run_file(path, feeds)["output"]
    expected = execute(program, feeds)["output"]
    assert found.isfinite().all()
    rows = torch.ones(2, 1, 7, 1, dtype=torch.bool) if given is None else SHOWN.any(-1, True)
    difference = ((found - expected) * rows).abs().max()
    assert difference < ROUNDING[dtype]


def test_the_future_stays_hidden(tmp_path: Path) -> None:
    inputs = operands(torch.float32, 12, 12, 4)
    program, feeds, report = exported_function(
        attend(is_causal=True), inputs, tmp_path / "model.onnx", [spell_out_attention]
    )
    assert report.rewritten["spell_out_attention"] == 1
    (found,), (expected,) = run_file(report.path, feeds).values(), execute(program, feeds).values()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "value_width", "count"),
    [(16, 16, 0), (64, 64, 0), (256, 256, 0), (8, 8, 1), (20, 20, 1), (264, 264, 1), (64, 32, 1)],
)
def test_what_engines_have_a_kernel_for_stays(
    width: int, value_width: int, count: int, tmp_path: Path
) -> None:
    inputs = operands(torch.float16, width, value_width, 2)
    _, _, report = exported_function(
        attend(), inputs, tmp_path / "model.onnx", [spell_out_attention]
    )
    assert report.rewritten["spell_out_attention"] == count
    kinds = [node.op_type for node in ir.load(report.path).graph]
    assert kinds.count("Attention") == 1 - count


@pytest.mark.tensorrt
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(small_program, id="float32"),
        pytest.param(lambda: narrow_value_program(torch.bfloat16), id="narrow-bfloat16"),
    ],
)
def test_an_engine_takes_what_it_has_no_kernel_for(
    program: Callable[[], Program], tmp_path: Path
) -> None:
    path, made = tmp_path / "model.onnx", program()
    profiles = program_profiles(made.main.inputs, new_tokens=16, max_length=32)
    options = EngineOptions(profiles=profiles)
    try:
        require_buildable(options)
    except EngineError as error:
        pytest.skip(f"no TensorRT library builds here: {error}")
    export_onnx(made, path, FOR_TENSORRT)
    assert build_engine(path, tmp_path / "model.engine", options).size_bytes > 0
