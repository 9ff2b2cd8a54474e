"""What the exporter leaves behind: spare outputs, trace metadata, values computed twice."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common


def tidy(model: ir.Model) -> None:
    """Drop spare outputs, repeated and unread values, and the notes of the trace."""
    for node in model.graph:
        _drop_spare_outputs(node)
    for step in (
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),
        common.NameFixPass(),  # a value of a loop's body may have the name of one outside
    ):
        step(model)


def _drop_spare_outputs(node: ir.Node) -> None:
    """TensorRT takes an ``Attention`` with one output only; an unread one costs time elsewhere."""
    used = [i for i, value in enumerate(node.outputs) if value.uses() or value.is_graph_output()]
    if used and used[-1] + 1 < len(node.outputs):
        node.resize_outputs(max(used[-1] + 1, _least_outputs(node)))


def _least_outputs(node: ir.Node) -> int:
    """How many outputs the operator must have; those of other domains may have any number."""
    if not onnx.defs.has(node.op_type, node.domain):
        return 1
    return int(onnx.defs.get_schema(node.op_type, node.domain).min_output)
