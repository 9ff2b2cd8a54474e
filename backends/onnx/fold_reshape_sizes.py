"""``Reshape(x, Concat(sizes read at run time))`` -> ``Reshape(x, [0, 0, 9, 64])``.

A 0 copies the size of x at the same place; one size at most may be left to -1.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def fold_reshape_sizes(model: ir.Model) -> int:
    """Give every ``Reshape`` a constant target where one can be written; return how many."""
    folded = 0
    for node in list(model.graph):
        if node.op_type != "Reshape":
            continue
        source, sizes = node.inputs
        target = _target(source, node.outputs[0])
        if target is None or (sizes is not None and sizes.const_value is not None):
            continue
        node.replace_input_with(1, _constant(model.graph, target))
        node.attributes.pop("allowzero", None)  # with it a 0 would mean an empty dimension
        folded += 1
    return folded


def _constant(graph: ir.Graph, target: list[int]) -> ir.Value:
    name = f"shape_{'_'.join(map(str, target))}"
    if name not in graph.initializers:
        tensor = ir.Tensor(np.array(target, dtype=np.int64), name=name)
        kind = ir.TensorType(tensor.dtype)
        shape = ir.Shape([len(target)])
        graph.register_initializer(ir.Value(name=name, shape=shape, type=kind, const_value=tensor))
    return graph.initializers[name]


def _target(source: ir.Value | None, result: ir.Value) -> list[int] | None:
    if source is None or source.shape is None or result.shape is None:
        return None
    before, after = source.shape, result.shape
    target = []
    for place, size in enumerate(after):
        if isinstance(size, int):
            target.append(size)
        elif place < len(before) and str(before[place]) == str(size):
            target.append(0)
        else:
            target.append(-1)
    return target if target.count(-1) <= 1 else None
