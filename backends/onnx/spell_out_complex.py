"""Complex rotations -> pairs of real numbers in one more dimension: ONNX has no complex tensors.

``view_as_complex(x)`` -> ``x``; ``polar(r, a)`` -> ``stack((r cos a, r sin a), -1)``; products of
two complex values are spelled out, and views act on the dimensions before the last.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from prunec.backends.onnx.draft import CAST, Draft, aten, calls, insert, replace

_ALONG_A_DIMENSION = (
    aten.slice.Tensor,
    aten.select.int,
    aten.index.Tensor,
    aten.index_select.default,
)


def spell_out_complex(draft: Draft) -> int:
    """Compute with pairs wherever the graph has complex values; return how many there were.

    A complex value that has no such form stays, for the translation to refuse.
    """
    pairs = _weights(draft)
    for node in list(draft.graph.nodes):
        if calls(node, aten.view_as_real.default) and node.args[0] in pairs:
            replace(node, pairs[node.args[0]])
        elif node.op == "call_function" and _is_complex(node):
            pair = _pair(node, pairs)
            if pair is not None:
                pairs[node] = pair
    draft.graph.eliminate_dead_code()
    return len(pairs)


def _weights(draft: Draft) -> dict[Any, Node]:
    """Store complex weights as pairs, and let their placeholders stand for themselves."""
    pairs: dict[Any, Node] = {}
    for node, name in draft.entry().weight_nodes():
        if _is_complex(node):
            draft.weights[name] = torch.view_as_real(draft.weights[name]).contiguous()
            node.meta["val"] = torch.view_as_real(node.meta["val"])
            pairs[node] = node
    return pairs


def _is_complex(value: Any) -> bool:
    found = value.meta.get("val") if isinstance(value, Node) else None
    return isinstance(found, torch.Tensor) and found.is_complex()


def _pair(node: Node, pairs: dict[Any, Node]) -> Node | None:
    """The node's value as pairs, from those of what it reads; None where there is no rule."""
    source, *rest = node.args
    if calls(node, aten.polar.default):
        parts = [
            insert(node, aten.mul.Tensor, source, insert(node, part, rest[0]))
            for part in (aten.cos.default, aten.sin.default)
        ]
        return insert(node, aten.stack.default, parts, -1)
    if calls(node, aten.view_as_complex.default):
        return source  # type: ignore[return-value]
    if calls(node, aten.mul.Tensor):
        return _product(node, pairs)
    if source not in pairs:
        return None
    if calls(node, CAST):
        return pairs[source]
    if calls(node, aten.unsqueeze.default):
        dim: Any = rest[0]
        return insert(node, node.target, pairs[source], dim % node.meta["val"].dim())
    if calls(node, *_ALONG_A_DIMENSION):
        if isinstance(rest[0], int):
            rest[0] %= source.meta["val"].dim()  # type: ignore[union-attr]
        return insert(node, node.target, pairs[source], *rest)
    if calls(node, aten.expand.default, aten.reshape.default):
        sizes: Any = rest[0]
        return insert(node, node.target, pairs[source], [*sizes, 2])
    return None


def _product(node: Node, pairs: dict[Any, Node]) -> Node | None:
    first, second = node.args
    if _is_complex(second) and not _is_complex(first):
        first, second = second, first
    if first not in pairs:
        return None
    if not _is_complex(second):
        is_tensor = isinstance(second, Node) and isinstance(second.meta["val"], torch.Tensor)
        factor = insert(node, aten.unsqueeze.default, second, -1) if is_tensor else second
        return insert(node, aten.mul.Tensor, pairs[first], factor)
    if second not in pairs:
        return None
    (a, b), (c, d) = (
        [insert(node, aten.select.int, pairs[value], -1, place) for place in (0, 1)]
        for value in (first, second)
    )
    ac, bd, ad, bc = (insert(node, aten.mul.Tensor, *p) for p in ((a, c), (b, d), (a, d), (b, c)))
    real, imaginary = insert(node, aten.sub.Tensor, ac, bd), insert(node, aten.add.Tensor, ad, bc)
    return insert(node, aten.stack.default, [real, imaginary], -1)
