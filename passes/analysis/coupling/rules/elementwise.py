"""Elementwise operators and casts: operands are aligned from the right and become one."""

from __future__ import annotations

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site
from prunec.passes.ir.axes import Atom, Axis, kept, size

aten = torch.ops.aten


def relate_elementwise(site: Site) -> Axes:
    """Unify the operands' dimensions; a size of 1 is broadcast and stays out of it."""
    shape = site.shape()
    result: list[Axis | None] = [None] * len(shape)
    for operand in site.node.all_input_nodes:
        axes = site.operand(operand)
        for dim, axis in zip(range(-1, -len(axes) - 1, -1), reversed(axes), strict=True):
            if axis is None or (size(axis) == 1 and shape[dim] != 1):
                continue
            if result[dim] is None:
                result[dim] = axis
            else:
                site.unify(result[dim], axis)
    return tuple(
        Atom(s) if axis is None and s is not None else axis
        for s, axis in zip(shape, result, strict=True)
    )


def cut_elementwise(site: CutSite) -> None:
    """Gather operands that have no parameters behind them where this use needs fewer."""
    for operand, copied in zip(site.before.all_input_nodes, site.node.all_input_nodes, strict=True):
        axes = site.walk.gathers.get((site.before, operand), ())
        gathered = copied
        for dim, axis in enumerate(axes):
            if axis is not None and site.is_cut(axis):
                gathered = _gather(site, gathered, dim, axis)
        if gathered is not copied:
            site.node.replace_input_with(copied, gathered)


def _gather(site: CutSite, operand: Node, dim: int, axis: Axis) -> Node:
    indices = site.add_buffer(torch.from_numpy(kept(axis, site.selection).copy()))
    with site.graph.inserting_before(site.node):
        return site.graph.call_function(aten.index_select.default, (operand, dim, indices))


def relate_cast_to_other(site: Site) -> Axes:
    """Pass the first operand's axes on; the second gives its dtype alone."""
    return site.axes(site.node.args[0])


# fmt: off
_SAME_SHAPE = (
    "abs", "neg", "exp", "log", "sqrt", "rsqrt", "reciprocal", "pow", "square", "sin", "cos",
    "tanh", "erf", "sigmoid", "relu", "silu", "gelu", "hardtanh", "leaky_relu", "elu", "clamp",
    "clamp_min", "clamp_max", "floor", "ceil", "round", "sign", "logical_not", "bitwise_not",
    "add", "sub", "mul", "div", "maximum", "minimum", "where", "masked_fill", "eq", "ne", "lt",
    "le", "gt", "ge", "logical_and", "logical_or", "bitwise_and", "bitwise_or", "__and__",
    "__or__", "clone", "contiguous", "detach", "alias", "dropout", "to", "_to_copy", "zeros_like",
    "ones_like", "full_like", "nan_to_num", "isnan", "isinf", "mish", "softplus", "hardswish",
    "relu6",
)
# fmt: on

_RULE = Rule(relate_elementwise, cut_elementwise)
RULES = {
    **{getattr(aten, name): _RULE for name in _SAME_SHAPE},
    aten.to.other: Rule(relate_cast_to_other),
}
