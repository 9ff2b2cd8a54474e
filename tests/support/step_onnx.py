"""A tiny ONNX file with the inputs of a cached language model and next to no arithmetic."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def write_step(path: Path, element: int = TensorProto.BFLOAT16) -> Path:
    """Write one attention step whose tensors have this ONNX element type."""
    cache = ["batch_size", 2, "past_sequence_length", 8]
    whole = ["batch_size", 2, "total_sequence_length", 8]
    inputs = [
        helper.make_tensor_value_info("query", element, ["batch_size", 2, "sequence_length", 8]),
        helper.make_tensor_value_info(
            "attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]
        ),
        helper.make_tensor_value_info("past_key_values.0.key", element, cache),
    ]
    scale = helper.make_tensor("scale", element, [1], [2.0])
    nodes = [
        helper.make_node("Mul", ["query", "scale"], ["scaled"], "scale_query"),
        helper.make_node("Concat", ["past_key_values.0.key", "scaled"], ["present.0.key"], axis=2),
        helper.make_node(
            "Attention", ["scaled", "present.0.key", "present.0.key"], ["logits"], "attend"
        ),
        helper.make_node("Identity", ["attention_mask"], ["mask"], "keep_mask"),
    ]
    outputs = [
        helper.make_tensor_value_info("logits", element, ["batch_size", 2, "sequence_length", 8]),
        helper.make_tensor_value_info("present.0.key", element, whole),
        helper.make_tensor_value_info(
            "mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]
        ),
    ]
    graph = helper.make_graph(nodes, "step", inputs, outputs, [scale])
    opset = helper.make_opsetid("", 23)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=11), path)
    return path
