"""``linear(x, W, b)`` -> ``x @ Wt + b`` with ``Wt = W^T`` stored.

What takes rows or columns of such a weight, as a prompt's choice does, takes the others of ``Wt``:
``t(index_select(W, 0, i))`` -> ``index_select(Wt, 1, i)``. A weight that anything else reads too,
such as a tied embedding, stays as it is.
"""

from __future__ import annotations

from torch.fx import Node

from prunec.backends.onnx.draft import Draft, aten, calls, insert, replace


def transpose_linear_weights(draft: Draft) -> int:
    """Store the weights of linear layers the way ``MatMul`` reads them; return how many."""
    changed = 0
    for weight, name in list(draft.entry().weight_nodes()):
        readers = list(weight.users)
        linear = [r for r in readers if _reads_as_linear(r, weight)]
        taking = [r for r in readers if calls(r, aten.index_select.default)]
        if not linear or len(linear) + len(taking) < len(readers):
            continue
        draft.weights[name] = draft.weights[name].t()  # a view; written out in its own order
        weight.meta["val"] = weight.meta["val"].t()
        for reader in linear:
            _multiply(reader)
        for reader in taking:
            _take(reader)
        changed += 1
    return changed


def _reads_as_linear(node: Node, weight: Node) -> bool:
    return (
        calls(node, aten.linear.default) and node.args[1] is weight and node.args[0] is not weight
    )


def _multiply(node: Node) -> None:
    source, weight, *bias = node.args
    product = insert(node, aten.matmul.default, source, weight)
    replace(node, insert(node, aten.add.Tensor, product, bias[0]) if bias else product)


def _take(node: Node) -> None:
    weight, dim, indices = node.args
    assert isinstance(dim, int)
    found = insert(node, aten.index_select.default, weight, 1 - dim % 2, indices)
    for turn in [user for user in node.users if calls(user, aten.t.default)]:
        replace(turn, found)
    if node.users:
        replace(node, insert(node, aten.t.default, found))
    else:
        node.graph.erase_node(node)
