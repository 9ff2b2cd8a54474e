"""The best of more than TensorRT takes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from prunec.backends.onnx import export_onnx
from prunec.backends.onnx.split_top_k import split_top_k
from prunec.passes.contract import Context
from prunec.passes.ir import PREFILL, execute, language_feeds
from prunec.passes.surgery import SelectExperts
from support.models import random_tokens, small_program
from support.sessions import exported_function, run_file

TOKENS = random_tokens(3, 9)


@pytest.mark.parametrize(
    "options",
    [{}, {"per_sequence": True}, {"prior": 0.5, "core": 0.25}],
    ids=["together", "each", "ranks"],
)
def test_units_are_the_same_whatever_is_taken_at_once(
    options: dict[str, Any], tmp_path: Path
) -> None:
    program = SelectExperts(**options).apply(small_program(), Context(calibration=TOKENS))
    feeds = language_feeds(program.entries[PREFILL], TOKENS)
    found = []
    for name, rewrites in (("whole", ()), ("split", (split_ten,))):
        path = tmp_path / f"{name}.onnx"
        export_onnx(program, path, rewrites, entry=PREFILL)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        values = session.run(None, {n: t.numpy() for n, t in feeds.items()})
        found.append(dict(zip((o.name for o in session.get_outputs()), values, strict=True)))
    assert set(_counts(ir.load(tmp_path / "whole.onnx"))) <= {48, 96}  # 96: a sort
    assert {10} < set(_counts(ir.load(tmp_path / "split.onnx"))) <= {10, 8, 6}
    for name, value in found[0].items():
        assert np.array_equal(found[1][name], value), name


def split_ten(model: ir.Model) -> int:
    return split_top_k(model, 10)


def _counts(model: ir.Model) -> list[int | None]:
    """How many each takes; None where that is no constant."""
    numbers = [node.inputs[1] for node in model.graph if node.op_type == "TopK"]
    tensors = [ir.convenience.get_const_tensor(value) for value in numbers if value is not None]
    return [None if t is None else int(t.numpy().reshape(-1)[0]) for t in tensors]


def test_what_an_engine_takes_at_once_stays(tmp_path: Path) -> None:
    export_onnx(small_program(), tmp_path / "dense.onnx")
    assert split_top_k(ir.load(tmp_path / "dense.onnx")) == 0


def test_what_the_program_gives_out_keeps_its_name(tmp_path: Path) -> None:
    values = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    program, feeds, _ = exported_function(
        lambda x: x.topk(15), [values], tmp_path / "model.onnx", [split_ten]
    )
    found = run_file(tmp_path / "model.onnx", feeds)
    for name, expected in execute(program, feeds).items():
        assert torch.equal(found[name], expected), name
