"""Drop nodes that return their operand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Entry, Program
from prunec.passes.ir.shapes import copy_graph, is_tensor

aten = torch.ops.aten

# A cast to float32 or to a weight's type is none of them even where it changes nothing: it would
# be missing when the program is cast to another precision.
_IF_SAME_SHAPE_AND_TYPE = {
    aten.slice.Tensor,
    aten.expand.default,
    aten.view.default,
    aten.reshape.default,
    aten.to.dtype_layout,
    aten.contiguous.default,
    aten.clone.default,
    aten.detach.default,
    aten.alias.default,
    aten.lift_fresh_copy.default,
    aten.dropout.default,
}
_NEEDS_ITS_LAYOUT = {aten.view_as_complex.default}
"""Operators that refuse an operand of the right sizes whose strides do not suit."""
_NEUTRAL = {aten.mul.Tensor: 1, aten.add.Tensor: 0, aten.div.Tensor: 1, aten.sub.Tensor: 0}


@dataclass(frozen=True)
class DropNoOps(Pass):
    """Drop full-range slices, views to the same shape, products with one, and their like.

    Changes: the number of nodes.
    Keeps: every output, bit for bit.
    """

    name = "drop-no-ops"
    is_exact = True

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        if not any(_is_no_op(n) for e in program.entries.values() for n in e.graph.nodes):
            return program
        return replace(program, entries={k: _without(e) for k, e in program.entries.items()})


def _without(entry: Entry) -> Entry:
    graph, mapping = copy_graph(entry.graph)
    for before in entry.graph.nodes:
        if _is_no_op(before):
            node = mapping[before]
            node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
            graph.erase_node(node)
    return replace(entry, graph=graph)


def _is_no_op(node: Node) -> bool:
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], Node):
        return False
    if not (is_tensor(node) and is_tensor(node.args[0])) or not _is_same(node, node.args[0]):
        return False
    if node.target in _IF_SAME_SHAPE_AND_TYPE:
        return not any(user.target in _NEEDS_ITS_LAYOUT for user in node.users)
    if node.target in _NEUTRAL and not node.kwargs:
        other = node.args[1]
        return isinstance(other, (int, float)) and other == _NEUTRAL[node.target]
    return node.target is aten.to.device and node.args[2] == torch.bool


def _is_same(a: Node, b: Node) -> bool:
    left, right = a.meta["val"], b.meta["val"]
    if left.dtype != right.dtype or left.dim() != right.dim():
        return False
    return all(_size_key(x) == _size_key(y) for x, y in zip(left.shape, right.shape, strict=True))


def _size_key(size: Any) -> Any:
    return size.node.expr if isinstance(size, torch.SymInt) else size
