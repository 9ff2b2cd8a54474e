"""Reductions over dimensions; a mean is rescaled so that removed units still count as zeros."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch

from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site
from prunec.passes.ir.axes import Atom, Axis, size

aten = torch.ops.aten


def relate_sum(site: Site) -> Axes:
    """Drop the reduced dimensions, or keep them with size 1."""
    axes = site.axes(site.node.args[0])
    reduced = _reduced(site.node.args, len(axes))
    keeps = len(site.node.args) > 2 and bool(site.node.args[2])
    if keeps:
        return tuple(Atom(1) if dim in reduced else a for dim, a in enumerate(axes))
    return tuple(a for dim, a in enumerate(axes) if dim not in reduced)


def cut_mean(site: CutSite) -> None:
    """Multiply by kept / total: the mean stays that of the masked original."""
    axes = site.axes(site.before.args[0])
    scale = 1.0
    for dim in _reduced(site.before.args, len(axes)):
        axis = axes[dim]
        if axis is not None and site.is_cut(axis):
            scale *= site.kept_size(axis) / size(axis)
    if scale == 1.0:
        return
    with site.graph.inserting_after(site.node):
        scaled = site.graph.call_function(aten.mul.Tensor, (site.node, scale))
    site.node.replace_all_uses_with(scaled, delete_user_cb=lambda user: user is not scaled)


def relate_softmax(site: Site) -> Axes:
    """Refuse the normalised axis: a removed unit would need minus infinity, not zero."""
    axes = site.axes(site.node.args[0])
    axis: Axis | None = axes[site.node.args[1]]  # type: ignore[index]
    site.refuse(axis, "a softmax over it gives removed units a share; zero is not neutral there")
    return axes


def _reduced(args: Sequence[object], rank: int) -> list[int]:
    dims = args[1] if len(args) > 1 and args[1] is not None else range(rank)
    dims = [dims] if isinstance(dims, int) else list(dims)  # type: ignore[call-overload]
    return [operator.index(dim) % rank for dim in dims]


RULES = {
    aten.sum.dim_IntList: Rule(relate_sum),
    aten.mean.dim: Rule(relate_sum, cut_mean),
    aten.softmax: Rule(relate_softmax),
    aten._softmax: Rule(relate_softmax),
}
