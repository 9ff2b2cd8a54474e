"""Which casts follow the model's own precision, and which are deliberate."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from prunec.passes.ir import Entry

TRACED = torch.bfloat16
"""Models of transformers are traced in a reduced precision, whatever the checkpoint has: only
then does the graph tell a deliberate up-cast to float32 from a cast to the model's precision."""

aten = torch.ops.aten

_CASTS = {
    aten.to.dtype,
    aten.to.device,
    aten.to.dtype_layout,
    aten._to_copy.default,
    aten.type_as.default,
}


def follow_model_dtype(entry: Entry, buffers: frozenset[str]) -> None:
    """Tie every value that has the model's precision to the type of a parameter.

    A cast to the traced precision becomes one to the parameter's type; a value that is made in
    it, and a buffer that is kept in it, are cast behind where they come from.

    Args:
        entry: Its graph is edited in place, and needs its shapes and dtypes.
        buffers: Names of the weights that are no parameters.
    """
    weights = {n: name for n, name in entry.weight_nodes() if n.meta["val"].dtype == TRACED}
    reference = next((n for n, name in weights.items() if name not in buffers), None)
    if reference is None:
        return
    last = [n for n in entry.graph.nodes if n.op == "placeholder"][-1]
    for node in list(entry.graph.nodes):
        if weights.get(node) in buffers and node.users:
            _cast_behind(node, reference, last)
        elif node.op == "call_function" and _dtype(node) == TRACED:
            if node.target in _CASTS:
                _cast_instead(node, reference)
            elif _names_dtype((node.args, node.kwargs)):
                node.args, node.kwargs = _in_float32((node.args, node.kwargs))
                _cast_behind(node, reference, node)


def _dtype(node: Node) -> torch.dtype | None:
    return getattr(node.meta.get("val"), "dtype", None)


def _cast_instead(node: Node, reference: Node) -> None:
    source: Any = node.args[0]
    if _dtype(source) == TRACED:
        node.replace_all_uses_with(source)
    else:
        with node.graph.inserting_before(node):
            follow = node.graph.call_function(aten.to.other, (source, reference))
        follow.meta.update(node.meta)
        node.replace_all_uses_with(follow)
    node.graph.erase_node(node)


def _cast_behind(node: Node, reference: Node, place: Node) -> None:
    with node.graph.inserting_after(place):
        follow = node.graph.call_function(aten.to.other, (node, reference))
    follow.meta.update(node.meta)
    node.replace_all_uses_with(follow, delete_user_cb=lambda user: user is not follow)


def _names_dtype(arguments: Any) -> bool:
    return TRACED in torch.utils._pytree.tree_leaves(arguments)


def _in_float32(arguments: Any) -> Any:
    return torch.utils._pytree.tree_map(
        lambda value: torch.float32 if value is TRACED else value, arguments
    )
