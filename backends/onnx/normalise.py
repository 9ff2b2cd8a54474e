"""Bring a draft into its plainest form: no call that changes nothing, no value computed twice."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.fx import Graph, Node, map_arg

from prunec.backends.onnx.draft import (
    CAST,
    SDPA,
    Draft,
    aten,
    calls,
    insert,
    replace,
    same_dtype,
    same_shape,
)
from prunec.passes.ir.shapes import is_tensor

_CASTS = (aten.to.other, aten.to.dtype, aten.to.device, aten.to.dtype_layout, CAST)
_COPIES = (
    aten.contiguous.default,
    aten.clone.default,
    aten.alias.default,
    aten.detach.default,
    aten.view.default,
    aten.reshape.default,
    aten.expand.default,
    aten.slice.Tensor,
    *_CASTS,
)
"""These return their first argument wherever they keep its shape and dtype."""
_PROMOTING = (aten.pow.Tensor_Tensor, aten.stack.default)
"""Their translations take operands of one dtype alone."""
_OF_BOOLEANS = {
    aten.add.Tensor: aten.bitwise_or.Tensor,
    aten.mul.Tensor: aten.bitwise_and.Tensor,
}
"""ONNX adds and multiplies numbers alone."""


def normalise(draft: Draft) -> None:
    """Follow casts to their dtype, drop calls without effect, share equal values.

    ``to.other(x, w)`` -> ``_to_copy(x, dtype of w)``; ``to(x)``, ``view(x)``, ``expand(x)``,
    ``slice(x)``, ``x * 1``, ``x + 0``, ``x & true`` -> ``x`` where that is what they compute;
    Python's ``x & y`` -> ``bitwise_and(x, y)``, which has a translation of its own; ``1.0 - x``
    -> ``-x + 1.0`` with x cast to what comes out, since its translation promotes no types, and so
    the operands of ``pow`` and ``stack``; sums and products of booleans -> ``bitwise_or`` and
    ``bitwise_and``; a stable sort -> ``sort``, whose translation is stable; attention that may
    share heads but does not -> one that may not, since the translation refuses it.
    """
    for node in list(draft.graph.nodes):
        if node.op == "call_function" and is_tensor(node):
            _simplify(node)
        elif calls(node, aten.sort.stable):
            _to_plain_sort(node)
    share_equal_values(draft.graph)
    draft.graph.eliminate_dead_code()
    draft.drop_unread_weights()


def share_equal_values(graph: Graph) -> None:
    """Compute every value once: the first node that does it serves all readers.

    Symbolic sizes are equal where their expressions are, whatever input they were read from.
    """
    seen: dict[str, Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        value = node.meta["val"]
        is_size = isinstance(value, torch.SymInt)
        key = str(value) if is_size else repr((node.target, node.args, node.kwargs))
        if key in seen:
            replace(node, seen[key])
        else:
            seen[key] = node


def _simplify(node: Node) -> None:
    source = node.args[0]
    if _is_idle(node, source):
        replace(node, source)  # type: ignore[arg-type]
    elif calls(node, aten.__and__.Tensor, aten.bitwise_and.Tensor):
        node.target = aten.bitwise_and.Tensor
        if _is_true(source):
            replace(node, node.args[1])  # type: ignore[arg-type]
    elif calls(node, *_OF_BOOLEANS) and all(_is_boolean(a) for a in node.args):
        node.target = _OF_BOOLEANS[node.target]  # type: ignore[index]  # it is one of them
    elif calls(node, SDPA) and _has_a_key_for_each_query(node):
        node.kwargs = {key: value for key, value in node.kwargs.items() if key != "enable_gqa"}
    elif calls(node, *_PROMOTING):
        node.args = map_arg(node.args, lambda value: _promoted(node, value))
    elif calls(node, *_CASTS):
        replace(node, insert(node, CAST, source, dtype=node.meta["val"].dtype))
    elif calls(node, aten.rsub.Scalar) and len(node.args) == 2:
        promoted = insert(node, CAST, source, dtype=node.meta["val"].dtype)
        replace(
            node,
            insert(node, aten.add.Tensor, insert(node, aten.neg.default, promoted), node.args[1]),
        )


def _promoted(node: Node, value: Node) -> Node:
    """An operand in the dtype of the result, as torch takes it."""
    if same_dtype(node, value):
        return value
    return insert(node, CAST, value, dtype=node.meta["val"].dtype)


def _to_plain_sort(node: Node) -> None:
    """ONNX sorts by TopK, which puts the lower index first among equals."""
    node.target = aten.sort.default
    node.kwargs = {key: value for key, value in node.kwargs.items() if key != "stable"}


def _is_idle(node: Node, source: Any) -> bool:
    if not isinstance(source, Node) or not is_tensor(source):
        return False
    if not same_dtype(node, source) or not same_shape(node, source):
        return False
    if calls(node, aten.mul.Tensor, aten.add.Tensor):
        neutral = 1 if node.target is aten.mul.Tensor else 0
        return isinstance(node.args[1], (int, float)) and node.args[1] == neutral
    return calls(node, *_COPIES)


def _has_a_key_for_each_query(node: Node) -> bool:
    query, key = (cast(Node, value).meta["val"].shape for value in node.args[:2])
    return len(query) == len(key) == 4 and bool(query[1] == key[1])


def _is_boolean(value: Any) -> bool:
    return isinstance(value, Node) and value.meta["val"].dtype == torch.bool


def _is_true(value: Any) -> bool:
    return (
        calls(value, aten.new_ones.default)
        and value.meta["val"].dtype == torch.bool
        and value.meta["val"].dim() == 0
    )
