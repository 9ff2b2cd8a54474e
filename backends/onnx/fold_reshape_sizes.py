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
        if node.op_type != "Reshape" or node.inputs[1].const_value is not None:
            continue
        target = _target(node.inputs[0].shape, node.outputs[0].shape)
        if target is None:
            continue
        name = f"shape_{'_'.join(str(s) for s in target)}"
        if name not in model.graph.initializers:
            tensor = ir.tensor(np.array(target, dtype=np.int64), name=name)
            model.graph.register_initializer(
                ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
            )
        node.replace_input_with(1, model.graph.initializers[name])
        node.attributes.pop("allowzero", None)
        folded += 1
    return folded


def _target(before: ir.Shape | None, after: ir.Shape | None) -> list[int] | None:
    if before is None or after is None:
        return None
    target = []
    for place, size in enumerate(after):
        if isinstance(size, int):
            target.append(size)
        elif place < len(before) and str(before[place]) == str(size):
            target.append(0)
        else:
            target.append(-1)
    return target if target.count(-1) <= 1 else None
