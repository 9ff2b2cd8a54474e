"""``linear(x, W, b)`` -> ``x @ Wt + b`` with ``Wt = W^T`` stored.

A weight that anything else reads too, such as a tied embedding, stays as it is.
"""

from __future__ import annotations

from torch.fx import Node

from prunec.backends.onnx.draft import Draft, aten, calls, insert, replace


def transpose_linear_weights(draft: Draft) -> int:
    """Store the weights of linear layers the way ``MatMul`` reads them; return how many."""
    changed = 0
    for weight, name in list(draft.entry().weight_nodes()):
        readers = list(weight.users)
        if not readers or not all(_reads_as_linear(r, weight) for r in readers):
            continue
        draft.weights[name] = draft.weights[name].t()  # a view; written out in its own order
        weight.meta["val"] = weight.meta["val"].t()
        for reader in readers:
            _rewrite(reader)
        changed += 1
    return changed


def _reads_as_linear(node: Node, weight: Node) -> bool:
    return (
        calls(node, aten.linear.default) and node.args[1] is weight and node.args[0] is not weight
    )


def _rewrite(node: Node) -> None:
    source, weight, *bias = node.args
    product = insert(node, aten.matmul.default, source, weight)
    replace(node, insert(node, aten.add.Tensor, product, bias[0]) if bias else product)
