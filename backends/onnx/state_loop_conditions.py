"""``Loop(count, , x)`` -> ``Loop(count, true, x)``.

A condition that is left out is one that holds, but its reader inside the body, which ONNX wants,
finds nothing in TensorRT.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir


def state_loop_conditions(model: ir.Model) -> int:
    """Give every loop a condition; return how many had none."""
    return _state(model.graph)


def _state(graph: ir.Graph) -> int:
    found = 0
    for node in list(graph):
        found += sum(_state(body) for body in _bodies(node))
        if node.op_type == "Loop" and node.inputs[1] is None:
            value = ir.AttrTensor("value", ir.tensor(np.array(True)))
            holds = ir.Node("", "Constant", [], [value])
            graph.insert_before(node, holds)
            node.replace_input_with(1, holds.outputs[0])
            found += 1
    return found


def _bodies(node: ir.Node) -> Iterable[ir.Graph]:
    return (a.as_graph() for a in node.attributes.values() if a.type is ir.AttributeType.GRAPH)
