"""``w * to(x32 * rsqrt(mean(x32^2, -1) + e))``, ``x32 = float32(x)`` -> ``rms_norm(x, w, e)``.

ONNX ``RMSNormalization`` computes like the left side: statistics in float32, the product with the
weight in the type of x.
"""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from prunec.backends.onnx.draft import CAST, Draft, aten, calls, insert, replace, same_dtype


def fuse_rms_norm(draft: Draft) -> int:
    """Replace every norm spelled out in elementary operators; return how many."""
    fused = 0
    for node in list(draft.graph.nodes):
        found = _match(node)
        if found is not None:
            source, weight, epsilon = found
            width = weight.meta["val"].shape
            replace(node, insert(node, aten.rms_norm.default, source, list(width), weight, epsilon))
            fused += 1
    draft.graph.eliminate_dead_code()
    return fused


def _match(node: Node) -> tuple[Node, Node, float] | None:
    if not calls(node, aten.mul.Tensor):
        return None
    for weight, scaled in (node.args, node.args[::-1]):
        found = _match_scaled(_uncast(scaled))
        if found is None or not isinstance(weight, Node) or not isinstance(scaled, Node):
            continue
        source, epsilon = found
        # The cast back must return to the type that x came in, or the fused norm is another.
        is_vector = weight.meta["val"].dim() == 1
        if is_vector and same_dtype(source, weight, node, scaled):
            return source, weight, epsilon
    return None


def _match_scaled(node: Any) -> tuple[Node, float] | None:
    """``x32 * rsqrt(mean(x32^2, -1) + e)``."""
    if not calls(node, aten.mul.Tensor):
        return None
    wide, rsqrt = node.args
    if not calls(rsqrt, aten.rsqrt.default):
        return None
    shifted = rsqrt.args[0]
    if not calls(shifted, aten.add.Tensor) or not isinstance(shifted.args[1], float):
        return None
    mean = shifted.args[0]
    if not calls(mean, aten.mean.dim) or tuple(mean.args[1:]) != ([-1], True):
        return None
    square = mean.args[0]
    if not calls(square, aten.pow.Tensor_Scalar) or square.args != (wide, 2):
        return None
    return _uncast(wide), shifted.args[1]


def _uncast(value: Any) -> Any:
    return value.args[0] if calls(value, CAST) else value
