"""``avg_pool2d(x, window)`` -> ``mean(x, (-2, -1))`` where one window covers the whole plane.

Some models ask for windows far wider than any plane, cut off at its edges; TensorRT takes none of
more than some hundred places along each side.
"""

from __future__ import annotations

from typing import cast

from torch.fx import Node

from prunec.backends.onnx.draft import Draft, aten, calls, insert, replace

_POOLS = {aten.avg_pool1d.default: 1, aten.avg_pool2d.default: 2, aten.avg_pool3d.default: 3}
"""With how many dimensions a window has."""


def pool_whole_planes(draft: Draft) -> int:
    """Average the plane itself wherever a single window is that; return how many did."""
    changed = 0
    for node in list(draft.graph.nodes):
        if calls(node, *_POOLS) and _covers_all(node):
            dims = list(range(-_POOLS[node.target], 0))
            replace(node, insert(node, aten.mean.dim, node.args[0], dims, True))
            changed += 1
    return changed


def _covers_all(node: Node) -> bool:
    count = _POOLS[node.target]  # type: ignore[index]  # it is one of them
    source, window = cast(Node, node.args[0]), cast(list[int], node.args[1])
    padding = cast(list[int], node.args[3]) if len(node.args) > 3 else [0]
    has_divisor = len(node.args) > 6 and node.args[6] is not None
    plane, result = (n.meta["val"].shape[-count:] for n in (source, node))
    sides = zip(plane, window * (count if len(window) == 1 else 1), result, strict=True)
    return (
        not any(padding)
        and not has_divisor
        and not node.kwargs
        and all(isinstance(p, int) and w >= p and r == 1 for p, w, r in sides)
    )
