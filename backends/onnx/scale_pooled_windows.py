"""``avg_pool2d(x, window, divisor_override=d)`` -> ``avg_pool2d(x, window) * (places / d)``.

The exporter's translation leaves the divisor out and divides by the window's places.
"""

from __future__ import annotations

import math
from typing import Any

from torch.fx import Node

from prunec.backends.onnx.draft import Draft, aten, calls, insert, replace
from prunec.backends.onnx.errors import OnnxError

_POOLS = {aten.avg_pool2d.default: 2, aten.avg_pool3d.default: 3}
"""With how many dimensions a window has; those of one dimension take no divisor."""


def scale_pooled_windows(draft: Draft) -> int:
    """Divide by every window's places, then scale; return how many windows had a divisor.

    Raises:
        OnnxError: windows are cut off at the edge, where they have fewer places.
    """
    changed = 0
    for node in list(draft.graph.nodes):
        if calls(node, *_POOLS):
            given = _given(node)
            divisor = given.pop("divisor_override", None)
            if divisor is not None:
                _scale(node, given, divisor)
                changed += 1
    return changed


def _given(node: Node) -> dict[str, Any]:
    """The arguments by name, without those that are left at their defaults."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    return dict(zip(names, node.args, strict=False)) | node.kwargs


def _scale(node: Node, given: dict[str, Any], divisor: int) -> None:
    if given.get("ceil_mode", False):
        raise OnnxError(
            f"{node.name} ({node.target}) has a divisor and cuts windows off at the edge "
            "(ceil_mode): ONNX has neither. Pad the input and leave ceil_mode out"
        )
    count = _POOLS[node.target]  # type: ignore[index]  # it is one of them
    window = given["kernel_size"]
    places = math.prod(window * (count if len(window) == 1 else 1))
    order = ("self", "kernel_size", "stride", "padding")
    plain = [given.get(name, 0 if name == "padding" else []) for name in order]
    pooled = insert(node, node.target, *plain, False, True)
    replace(node, insert(node, aten.mul.Tensor, pooled, places / divisor))
