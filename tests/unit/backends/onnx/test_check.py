"""No file is handed out that a reader refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from prunec.backends.onnx import OnnxError, export_experts, export_onnx
from prunec.passes.contract import Context
from prunec.passes.surgery import SelectExperts
from support.models import random_tokens, small_program


def mix_types(model: ir.Model) -> int:
    """Let a product have operands of two element types: no operator takes them."""
    node = next(n for n in model.graph if n.op_type == "MatMul")
    cast = ir.node("Cast", [node.inputs[0]], {"to": ir.DataType.FLOAT16})
    model.graph.insert_before(node, cast)
    node.replace_input_with(0, cast.outputs[0])
    return 1


def take_complex_numbers(model: ir.Model) -> int:
    """Spell a valid operator in a form that ONNX Runtime has no kernel for."""
    output = model.graph.outputs[0]
    node = output.producer()
    assert node is not None
    table = ir.node("Constant", [], {"value": ir.tensor(np.zeros(3, np.complex64))})
    unread = ir.node("Identity", [table.outputs[0]])
    model.graph.insert_before(node, [table, unread])
    model.graph.outputs.append(unread.outputs[0])
    unread.outputs[0].name, unread.outputs[0].shape = "unread", ir.Shape([3])
    unread.outputs[0].dtype = ir.DataType.COMPLEX64
    return 1


@pytest.mark.parametrize(
    ("rewrite", "reader"),
    [(mix_types, "onnx.checker"), (take_complex_numbers, "onnxruntime")],
)
def test_a_file_that_a_reader_refuses_is_not_kept(
    rewrite: object, reader: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(small_program(), path)
    before = path.read_bytes()
    with pytest.raises(OnnxError, match=rf"^{reader} refuses model.onnx, so it was not kept: "):
        export_onnx(small_program(), path, [rewrite])  # type: ignore[list-item]
    assert path.read_bytes() == before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]


def test_neither_model_of_a_choice_is_kept_where_one_is_refused(tmp_path: Path) -> None:
    program = SelectExperts().apply(small_program(), Context(calibration=random_tokens(3, 9)))
    with pytest.raises(OnnxError, match=r"refuses prefill\.onnx"):
        export_experts(program, tmp_path, [mix_types])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dtype", "readers"),
    [
        (torch.float32, ("onnx.checker", "onnxruntime")),
        (torch.float16, ("onnx.checker", "onnxruntime")),
        (torch.bfloat16, ("onnx.checker",)),
    ],
)
def test_the_report_names_the_readers(
    dtype: torch.dtype, readers: tuple[str, ...], tmp_path: Path
) -> None:
    assert export_onnx(small_program(dtype), tmp_path / "model.onnx").readers == readers


def test_types_in_bfloat16_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="refuses"):
        export_onnx(small_program(torch.bfloat16), tmp_path / "model.onnx", [mix_types])
