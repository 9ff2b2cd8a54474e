"""``x * cos + cat(-x2, x1) * sin`` with ``x = cat(x1, x2)`` -> ``RotaryEmbedding(x, cos1, sin1)``.

cos and sin are the tables of a step, [batch, token, head_dim], whose halves are equal; cos1 and
sin1 are their first halves, [batch, token, head_dim / 2], one pair for all layers. Where x and the
tables have two element types, all are brought to the one that the sum has: ONNX wants one.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.onnx.ops  # registers torch.ops.onnx
from torch.fx import Node

from prunec.backends.onnx.draft import CAST, Draft, aten, calls, insert, replace, same_dtype

_ELEMENTS = (torch.float32, torch.float16, torch.bfloat16)
"""What ONNX ``RotaryEmbedding`` computes in."""
_UNARY = (aten.cos.default, aten.sin.default, aten.mul.Tensor, CAST)


def fuse_rotary_embedding(draft: Draft) -> int:
    """Replace every rotation spelled out in elementary operators; return how many."""
    fused = 0
    halves: dict[Node, Node] = {}
    for node in list(draft.graph.nodes):
        found = _match(node)
        if found is None:
            continue
        source, *tables = found
        for table in tables:
            if table not in halves:
                halves[table] = _first_half(table)
        rotary = torch.ops.onnx.RotaryEmbedding.opset23
        operands = (source, *(halves[table] for table in tables))
        replace(node, insert(node, rotary, *(_in_type_of(node, value) for value in operands)))
        fused += 1
    draft.graph.eliminate_dead_code()
    return fused


def _in_type_of(node: Node, value: Node) -> Node:
    """The value in the node's element type, which loses nothing: it is what torch promotes to."""
    if same_dtype(node, value):
        return value
    return insert(node, CAST, value, dtype=node.meta["val"].dtype)


def _match(node: Node) -> tuple[Node, Node, Node] | None:
    if not calls(node, aten.add.Tensor) or not all(calls(a, aten.mul.Tensor) for a in node.args):
        return None
    if node.meta["val"].dtype not in _ELEMENTS:
        return None
    straight, turned = node.args
    source, cos = straight.args  # type: ignore[union-attr]
    rotated, sin = turned.args  # type: ignore[union-attr]
    if not isinstance(source, Node) or not _is_half_turn(rotated, source):
        return None
    tables = [_table(value, source) for value in (cos, sin)]
    return None if None in tables else (source, *tables)  # type: ignore[return-value]


def _is_half_turn(value: Any, source: Any) -> bool:
    """``cat(-x[half:], x[:half])`` over the last of four dimensions."""
    if not calls(value, aten.cat.default) or value.args[1:] not in ((-1,), (3,)):
        return False
    first, second = value.args[0]
    if not calls(first, aten.neg.default) or not all(
        calls(s, aten.slice.Tensor) and s.args[0] is source and s.args[1] in (3, -1)
        for s in (first.args[0], second)
    ):
        return False
    width = source.meta["val"].shape[-1]
    half = width // 2
    upper, lower = first.args[0].args[2:], second.args[2:]
    return upper[0] == half and upper[1] >= width and lower == (0, half)


def _table(value: Any, source: Node) -> Node | None:
    """The table behind ``unsqueeze(table, 1)``, if it is as wide as x and its halves are equal."""
    if not calls(value, aten.unsqueeze.default) or value.args[1] != 1:
        return None
    table = value.args[0]
    shape, rotated = table.meta["val"].shape, source.meta["val"].shape
    # One table for all rows of a batch is of no use to the operator.
    if len(shape) != 3 or shape[-1] != rotated[-1] or str(shape[0]) != str(rotated[0]):
        return None
    return table if _halved_angles(table) is not None else None


def _halved_angles(table: Node) -> Node | None:
    """The angles f where the table is computed elementwise from ``cat(f, f)``."""
    node = table
    while calls(node, *_UNARY):
        if node.target is aten.mul.Tensor and isinstance(node.args[1], Node):
            return None
        node = node.args[0]  # type: ignore[assignment]
    if not calls(node, aten.cat.default) or node.args[1:] not in ((-1,), (2,)):
        return None
    parts = _parts(node)
    return parts[0] if len(parts) == 2 and parts[0] is parts[1] else None


def _first_half(table: Node) -> Node:
    """The same elementwise computation on f in place of ``cat(f, f)``."""
    if calls(table, aten.cat.default):
        return _parts(table)[0]
    source, *rest = table.args
    half = _first_half(cast(Node, source))
    return insert(table, table.target, half, *rest, **table.kwargs)


def _parts(concatenation: Node) -> list[Node]:
    return cast(list[Node], concatenation.args[0])
