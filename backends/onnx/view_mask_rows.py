"""``mask[arange(batch)[:, 1, 1, 1], arange(total)[1, 1, 1, :]]`` -> ``mask[:, None, None, :]``.

Every index is taken once and in order, so the gather is a view.
"""

from __future__ import annotations

from typing import Any, cast

from torch.fx import Node

from prunec.backends.onnx.draft import Draft, aten, calls, insert, replace


def view_mask_rows(draft: Draft) -> int:
    """Read a mask by view where it is gathered whole; return how many gathers went."""
    changed = 0
    labels = draft.labels()
    for node in list(draft.graph.nodes):
        if not calls(node, aten.index.Tensor) or not _takes_all(node, labels):
            continue
        source = node.args[0]
        for place in (1, 1):
            source = insert(node, aten.unsqueeze.default, source, place)
        replace(node, source)
        changed += 1
    draft.graph.eliminate_dead_code()
    return changed


def _takes_all(node: Node, labels: dict[str, str]) -> bool:
    mask = cast(Node, node.args[0]).meta["val"]
    indices = cast(list[Any], node.args[1])
    if len(indices) != 2 or mask.dim() != 2:
        return False
    for index, axis, size in zip(indices, (0, 3), mask.shape, strict=True):
        length, whole = _ranged(index, axis), str(size)
        if length is None or labels.get(length, length) != labels.get(whole, whole):
            return False
    return True


def _ranged(index: Any, axis: int) -> str | None:
    """The length n where the index is ``arange(n)`` along this axis of four."""
    if not isinstance(index, Node) or index.meta["val"].dim() != 4:
        return None
    sizes = [str(s) for s in index.meta["val"].shape]
    if any(size != "1" for place, size in enumerate(sizes) if place != axis):
        return None
    while calls(index, aten.unsqueeze.default):
        index = index.args[0]
    return sizes[axis] if calls(index, aten.arange.default) else None
