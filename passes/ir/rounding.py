"""Round constants to the model's precision where they meet values that have it.

A graph that was traced in float32 does not tell which of its tensors would have been narrower in a
narrower model. Whoever narrows a model has its buffers rounded with it: statistics of a batch norm,
tables of positions, filters; and what is made from sizes alone serves the values that it is added
to. So these are rounded, each where it first meets a value of the model's precision: until then
they are computed as they were. Explicit casts to float32 stay.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch.fx import Node

from prunec.passes.ir.program import Entry
from prunec.passes.ir.shapes import TAKES_ONLY_DTYPE_FROM_SECOND, takes_only_dtype

aten = torch.ops.aten

_NARROW, _WIDE, _CONSTANT = "narrow", "wide", "constant"


def round_constants(entry: Entry, buffers: Collection[str], dtype: torch.dtype) -> None:
    """Cast every constant to a type where an operator takes it with values of that type.

    Nothing changes in a graph whose casts follow a parameter: it was traced in a narrow type, and
    where it computes in float32 the model does.

    Args:
        entry: Edited in place. Its graph has the shapes and types of the wide program; its ports
            and the types that it names are those of the narrow one.
        buffers: Names of the weights that are no parameters.
        dtype: The narrower type.
    """
    weights = dict(entry.weight_nodes())
    parameters = {node for node, name in weights.items() if name not in buffers}
    if any(n.target is aten.to.other and n.args[1] in parameters for n in entry.graph.nodes):
        return
    kinds: dict[Node, str] = {}
    inputs = iter(entry.inputs)
    for node in entry.graph.nodes:
        if node.op == "placeholder" and node not in weights:
            kinds[node] = _NARROW if next(inputs).dtype == dtype else _WIDE
        elif node in weights:
            kinds[node] = _NARROW if node in parameters else _CONSTANT
        elif node.op == "call_function":
            kinds[node] = _kind(node, kinds, dtype)
        else:
            _round(node, kinds, dtype, among=_tensors(node, kinds))


def _kind(node: Node, kinds: dict[Node, str], dtype: torch.dtype) -> str:
    if node.target in TAKES_ONLY_DTYPE_FROM_SECOND:
        return kinds[node.args[1]]  # type: ignore[index]
    operands = _tensors(node, kinds)
    found = {kinds[operand] for operand in operands}
    if _NARROW in found and _CONSTANT in found:
        _round(node, kinds, dtype, among=operands)
    named = {a for a in (*node.args, *node.kwargs.values()) if isinstance(a, torch.dtype)}
    if named:
        return _NARROW if dtype in named else _WIDE
    return next((kind for kind in (_WIDE, _NARROW) if kind in found), _CONSTANT)


def _tensors(node: Node, kinds: dict[Node, str]) -> list[Node]:
    """The operands whose element type counts: floating-point ones that are no single numbers."""
    return [
        n
        for n in node.all_input_nodes
        if n in kinds and not takes_only_dtype(node, n) and _counts(n)
    ]


def _counts(node: Node) -> bool:
    leaves = torch.utils._pytree.tree_leaves(node.meta.get("val"))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return any(t.is_floating_point() and t.dim() > 0 for t in tensors)


def _round(node: Node, kinds: dict[Node, str], dtype: torch.dtype, *, among: list[Node]) -> None:
    for constant in [n for n in among if kinds[n] == _CONSTANT]:
        with node.graph.inserting_before(node):
            rounded = node.graph.call_function(aten.to.dtype, (constant, dtype))
        rounded.meta.update(constant.meta)
        rounded.meta.pop("call", None)
        kinds[rounded] = _NARROW
        node.replace_input_with(constant, rounded)
