"""The runner of ONNX Runtime: what it refuses, and what it takes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper

from prunec.backends.onnx import export_onnx
from prunec.backends.ort import OrtError, OrtRunner, fold_cache
from support.models import random_tokens, small_program


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(small_program(), path)
    return path


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OrtError, match="no ONNX file at"):
        OrtRunner(tmp_path / "model.onnx")


def test_missing_weights_are_named(exported: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.onnx"
    alone.write_bytes(exported.read_bytes())
    with pytest.raises(OrtError, match=r"model\.onnx\.data"):
        OrtRunner(alone)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a protobuf at all")
    with pytest.raises(OrtError, match="cannot be read as an ONNX file"):
        OrtRunner(path)


def test_a_model_without_a_cache_is_no_decoder(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value], [result])
    opset = helper.make_opsetid("", 23)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=11), path)
    with pytest.raises(OrtError, match=r"no decoder with a cache: it lacks .*input_ids"):
        OrtRunner(path)


def test_an_unknown_provider_is_named_with_those_there(exported: Path) -> None:
    with pytest.raises(OrtError, match=r"has no \['Abacus'\]; it has .*CPUExecutionProvider"):
        OrtRunner(exported, providers=["Abacus"])


def test_a_model_that_leaves_positions_and_head_width_open_runs(
    exported: Path, tmp_path: Path
) -> None:
    model = ir.load(exported)
    _compute_positions(model)
    for value in (*model.graph.inputs, *model.graph.outputs):
        if "." in str(value.name):
            value.shape = ir.Shape([*list(value.shape)[:3], "width"])  # type: ignore[misc]
    path = tmp_path / "model.onnx"
    ir.save(model, path, external_data="model.onnx.data")
    with pytest.raises(OrtError, match="must be static"):
        OrtRunner(path)
    config = {"model": {"decoder": {"head_size": 16}}}
    (tmp_path / "genai_config.json").write_text(json.dumps(config))
    tokens, mask = random_tokens(2, 6), torch.ones(2, 6, dtype=torch.int64)
    found, _ = OrtRunner(path).step(tokens, mask, None)
    expected, _ = OrtRunner(exported).step(tokens, mask, None)
    assert torch.equal(found, expected)


def _compute_positions(model: ir.Model) -> None:
    """Replace the input ``position_ids`` by one computed from the mask; right for a prefill."""
    graph = model.graph
    (given,) = (v for v in graph.inputs if v.name == "position_ids")
    (mask,) = (v for v in graph.inputs if v.name == "attention_mask")
    axis = ir.node("Constant", [], {"value_int": 1})
    one = ir.node("Constant", [], {"value_int": 1})
    total = ir.node("CumSum", [mask, axis.outputs[0]])
    positions = ir.node("Sub", [total.outputs[0], one.outputs[0]])
    graph.insert_before(next(iter(graph)), [axis, one, total, positions])
    ir.convenience.replace_all_uses_with(given, positions.outputs[0])
    graph.inputs.remove(given)


def test_folding_moves_every_concatenation_of_the_cache_into_attention(exported: Path) -> None:
    model = ir.load(exported)
    names = [value.name for value in model.graph.outputs]
    assert fold_cache(model) == 2
    kinds = [node.op_type for node in model.graph]
    assert "Transpose" not in kinds[:-2]  # the one left turns the tied embedding
    assert "Concat" not in kinds
    assert [value.name for value in model.graph.outputs] == names
    assert fold_cache(model) == 0, "a second run has nothing left to do"


def test_its_threads_leave_the_cores_to_others_between_steps(exported: Path) -> None:
    runner, tokens = OrtRunner(exported, threads=2), random_tokens(3, 14)
    runner.step(tokens, torch.ones_like(tokens), None)
    before = time.process_time()
    time.sleep(0.1)
    assert time.process_time() - before < 0.003
