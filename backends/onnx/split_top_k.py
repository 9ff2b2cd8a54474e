"""``TopK`` of more than an engine takes at once -> several, each of what the one before left.

TensorRT takes at most 3840 of an axis; feed-forwards are wider. Pass it to `export_onnx` as a
rewrite where the file is for TensorRT.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

LIMIT = 3840
"""What TensorRT-RTX 1.7 states when it refuses more."""


def split_top_k(model: ir.Model, limit: int = LIMIT) -> int:
    """Take at most `limit` of an axis at once; return how many nodes were split."""
    split = 0
    for node in list(model.graph):
        if node.op_type == "TopK" and _count(node) > limit:
            _split(model.graph, node, limit)
            split += 1
    RemoveUnusedNodesPass()(model)
    return split


def _count(node: ir.Node) -> int:
    """How many a node takes; 0 where only a run can tell."""
    wanted = node.inputs[1]
    assert wanted is not None
    known = ir.convenience.get_const_tensor(wanted)
    return 0 if known is None else int(known.numpy().reshape(-1)[0])


def _split(graph: ir.Graph, node: ir.Node, limit: int) -> None:
    rest, count = node.inputs[0], _count(node)
    assert rest is not None
    assert rest.dtype is not None, "the exporter types every value"
    axis = node.attributes.get_int("axis", -1)
    largest = bool(node.attributes.get_int("largest", 1))
    made: list[ir.Node] = []
    parts: list[ir.Node] = []
    for start in range(0, count, limit):
        if parts:
            made += _without(rest, parts[-1].outputs[1], axis, _last(rest.dtype, largest))
            rest = made[-1].outputs[0]
        size = ir.tensor(np.array([min(limit, count - start)], dtype=np.int64))
        number = ir.node("Constant", [], {"value": size})
        part = ir.node("TopK", [rest, number.outputs[0]], dict(node.attributes), num_outputs=2)
        made += [number, part]
        parts.append(part)
    for place, result in enumerate(node.outputs):
        joined = ir.node("Concat", [part.outputs[place] for part in parts], {"axis": axis})
        made.append(joined)
        whole = joined.outputs[0]
        ir.convenience.replace_all_uses_with(result, whole, replace_graph_outputs=True)
        whole.name, whole.type, whole.shape = result.name, result.type, result.shape
    graph.insert_before(node, made)
    graph.remove(node, safe=True)


def _without(rest: ir.Value, taken: ir.Value, axis: int, last: ir.TensorProtocol) -> list[ir.Node]:
    """What is left, with the least there is where something was taken."""
    sizes = ir.node("Shape", [taken])
    fill = ir.node("ConstantOfShape", [sizes.outputs[0]], {"value": last})
    left = ir.node("ScatterElements", [rest, taken, fill.outputs[0]], {"axis": axis})
    left.outputs[0].type, left.outputs[0].shape = rest.type, rest.shape
    return [sizes, fill, left]


def _last(dtype: ir.DataType, largest: bool) -> ir.TensorProtocol:
    """A value behind all others."""
    kind = dtype.numpy()
    if np.issubdtype(kind, np.integer):
        bounds = np.iinfo(kind)
        return ir.tensor(np.array([bounds.min if largest else bounds.max], dtype=kind))
    return ir.tensor(np.array([-np.inf if largest else np.inf], dtype=kind))
