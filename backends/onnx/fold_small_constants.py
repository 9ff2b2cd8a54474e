"""What is computed from constants alone -> a constant: axes, sizes and small tables.

Readers want some of these written out, such as the axes of a reduction, which the exporter leaves
as ``Reshape(axes, [-1])``.
"""

from __future__ import annotations

import onnx_ir as ir
from onnxscript.optimizer import fold_constants

from prunec.backends.onnx.quiet import quiet

_LEAST_BYTES = 1024  # a second copy of less costs nothing


def fold_small_constants(model: ir.Model) -> None:
    """Fold whatever leaves each weight stored once."""
    with quiet("onnxscript.optimizer._constant_folding"):  # logs what it cannot fold
        fold_constants(model, should_fold=lambda node: False if _reads_shared(node) else None)


def _reads_shared(node: ir.Node) -> bool:
    """Whether something else reads a weight of the node too: a result would be a further one."""
    tensors = [v.const_value for v in node.inputs if v is not None and len(v.uses()) > 1]
    return any(tensor is not None and tensor.nbytes > _LEAST_BYTES for tensor in tensors)
