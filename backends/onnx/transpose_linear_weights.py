"""``linear(x, W, b)`` -> ``x @ Wt + b`` with ``Wt = W^T`` stored.

A weight that anything else reads too, such as a tied embedding, stays as it is. But what rows are
taken from, as by a prompt's choice, is stored so that each lies in one piece, whoever else reads
it: ``index_select(t(W), 0, i)`` -> ``index_select(Wt, 0, i)``.
"""

from __future__ import annotations

from torch.fx import Node

from prunec.backends.onnx.draft import Draft, aten, calls, insert, replace


def transpose_linear_weights(draft: Draft) -> int:
    """Turn the weights that ``MatMul`` or a choice reads faster so; return how many."""
    changed = 0
    for weight, name in list(draft.entry().weight_nodes()):
        readers = list(weight.users)
        turned = [r for r in readers if calls(r, aten.t.default)]
        linear = [r for r in readers if _reads_as_linear(r, weight)]
        others = [r for r in readers if r not in turned and r not in linear]
        taken = any(calls(user, aten.index_select.default) for t in turned for user in t.users)
        if not taken and (others or not readers):
            continue
        draft.weights[name] = draft.weights[name].t()  # a view; written out in its own order
        weight.meta["val"] = weight.meta["val"].t()
        for reader in linear:
            _multiply(reader)
        for reader in turned:
            replace(reader, weight)
        for reader in others:
            reader.replace_input_with(weight, insert(reader, aten.t.default, weight))
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
