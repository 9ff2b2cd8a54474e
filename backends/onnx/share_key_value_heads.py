"""``sdpa(q, repeat(k, r), repeat(v, r))`` -> ``sdpa(q, k, v, enable_gqa)``.

Of one KV head for all query heads there may be no ``repeat``: sdpa broadcasts it.

``repeat`` is ``reshape(expand(unsqueeze(k, 2), r))``: every KV head is read by the r query heads
of its group, none is copied.
"""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from prunec.backends.onnx.draft import SDPA, Draft, aten, calls, insert, replace


def share_key_value_heads(draft: Draft) -> int:
    """Let attention read each KV head in place; return how many attentions changed."""
    changed = 0
    for node in list(draft.graph.nodes):
        if not calls(node, SDPA):
            continue
        query, key, value = node.args[:3]
        shared = [_repeated(a) or _single(a, query) for a in (key, value)]
        if None in shared or node.kwargs.get("enable_gqa"):
            continue
        kwargs = {**node.kwargs, "enable_gqa": True}
        replace(node, insert(node, SDPA, query, *shared, *node.args[3:], **kwargs))
        changed += 1
    draft.graph.eliminate_dead_code()
    return changed


def _single(value: Any, query: Any) -> Node | None:
    """The tensor itself where it has one head for all those of the queries."""
    shape, heads = value.meta["val"].shape, query.meta["val"].shape
    return value if len(shape) == len(heads) == 4 and shape[1] == 1 != heads[1] else None


def _repeated(value: Any) -> Node | None:
    """The [batch, kv_head, token, head_dim] tensor whose heads are repeated into `value`."""
    if not calls(value, aten.reshape.default, aten.view.default, aten._unsafe_view.default):
        return None
    expanded = value.args[0]
    if not calls(expanded, aten.expand.default):
        return None
    lifted = expanded.args[0]
    if not calls(lifted, aten.unsqueeze.default) or lifted.args[1] != 2:
        return None
    source: Node = lifted.args[0]
    shape, whole = source.meta["val"].shape, value.meta["val"].shape
    repeat = expanded.meta["val"].shape[2]
    is_repeat = (
        len(whole) == 4
        and isinstance(repeat, int)
        and repeat > 1
        and whole[1] == shape[1] * repeat
        and str(whole[2]) == str(shape[2])
        and whole[3] == shape[3]
    )
    return source if is_repeat else None
