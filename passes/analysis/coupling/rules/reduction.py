"""Reductions over dimensions; a mean is rescaled so that removed units still count as zeros."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch

from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site
from prunec.passes.ir.axes import Atom, leaves, size

aten = torch.ops.aten


def relate_sum(site: Site) -> Axes:
    """Drop the reduced dimensions, or keep them with size 1."""
    return _reduce(site, _reduced(site.node, len(site.axes(site.node.args[0]))))


def _reduce(site: Site, reduced: list[int]) -> Axes:
    axes = site.axes(site.node.args[0])
    if len(site.node.meta["val"].shape) == len(axes):
        return tuple(Atom(1) if dim in reduced else a for dim, a in enumerate(axes))
    return tuple(a for dim, a in enumerate(axes) if dim not in reduced)


def _reduced(node: torch.fx.Node, rank: int) -> list[int]:
    """The dimensions that a reduction runs over; all where none is given."""
    given: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    dims = [given] if isinstance(given, int) else list(given or range(rank))
    return [operator.index(dim) % rank for dim in dims]


def relate_norm(site: Site) -> Axes:
    """A vector norm: zeros add nothing to it."""
    axes = site.axes(site.node.args[0])
    given: Any = site.argument("dim")
    dims = [given] if isinstance(given, int) else list(given or range(len(axes)))
    if site.argument("ord") <= 0:
        return site.refuse_all("a norm of order 0 or below does not pass over zeros")
    return _reduce(site, [d % len(axes) for d in dims])


def cut_mean(site: CutSite) -> None:
    """Multiply by kept / total: the mean stays that of the masked original."""
    axes = site.axes(site.before.args[0])
    reduced = [axes[dim] for dim in _reduced(site.before, len(axes))]
    scale = math.prod(site.kept_size(a) / size(a) for a in reduced if site.is_cut(a))
    if scale == 1.0:
        return
    site.scale_result(scale)


def relate_softmax(site: Site) -> Axes:
    """Keep all dimensions; in the normalised one a removed unit counts as minus infinity."""
    axes = site.axes(site.node.args[0])
    site.walk.normalised.update(leaves(axes[site.argument("dim")]))
    return axes


def relate_statistic(site: Site) -> Axes:
    """Refuse what is reduced: zeros would change the statistic, and no constant restores it."""
    axes = site.axes(site.node.args[0])
    reduced = _reduced(site.node, len(axes))
    for dim in reduced:
        site.refuse(axes[dim], f"{site.node.target} over it counts removed units")
    return _reduce(site, reduced)


def relate_statistic_pair(site: Site) -> list[Axes]:
    """The same for operators that return two statistics."""
    axes = site.axes(site.node.args[0])
    reduced = _reduced(site.node, len(axes))
    for dim in reduced:
        site.refuse(axes[dim], f"{site.node.target} over it counts removed units")
    is_kept = len(site.node.meta["val"][0].shape) == len(axes)
    left = [
        Atom(1) if d in reduced else a for d, a in enumerate(axes) if is_kept or d not in reduced
    ]
    return [tuple(left)] * 2


def relate_extreme(site: Site) -> list[Axes]:
    """A maximum or minimum over one dimension, with the place where it was found."""
    axes = site.axes(site.node.args[0])
    dim = site.argument("dim") % len(axes)
    if site.argument("keepdim"):
        result: Axes = (*axes[:dim], Atom(1), *axes[dim + 1 :])
    else:
        result = (*axes[:dim], *axes[dim + 1 :])
    readers = [user for user in site.node.users if user.args[1] == 1]
    if any(reader.users for reader in readers):
        site.refuse(axes[dim], "the place of its largest value is used as a number")
    return [result, result]


def relate_running(site: Site) -> Axes:
    """Keep all dimensions, refuse the one that the operator runs along."""
    axes = site.axes(site.node.args[0])
    dim = site.argument("dim")
    for axis in axes if dim is None else [axes[dim]]:
        site.refuse(axis, f"{site.node.target} runs along it in order")
    return axes


def relate_running_pair(site: Site) -> list[Axes]:
    """The same for operators that also return places."""
    return [relate_running(site)] * 2


_BEFORE_MAX = {"self": float("-inf")}
RULES: dict[Any, Rule] = {
    aten.sum.dim_IntList: Rule(relate_sum),
    aten.sum.default: Rule(relate_sum),
    aten.mean.dim: Rule(relate_sum, cut_mean),
    aten.mean.default: Rule(relate_sum, cut_mean),
    aten.linalg_vector_norm: Rule(relate_norm),
    aten.softmax.int: Rule(relate_softmax, neutral=_BEFORE_MAX),
    aten._softmax: Rule(relate_softmax, neutral=_BEFORE_MAX),
    aten.log_softmax.int: Rule(relate_softmax, neutral=_BEFORE_MAX),
    aten.logsumexp: Rule(relate_sum, neutral=_BEFORE_MAX),
    aten.amax: Rule(relate_sum, neutral=_BEFORE_MAX),
    aten.amin: Rule(relate_sum, neutral={"self": float("inf")}),
    aten.max.default: Rule(relate_sum, neutral=_BEFORE_MAX),
    aten.min.default: Rule(relate_sum, neutral={"self": float("inf")}),
    aten.max.dim: Rule(relate_extreme, neutral=_BEFORE_MAX),
    aten.min.dim: Rule(relate_extreme, neutral={"self": float("inf")}),
    aten.nansum: Rule(relate_sum),
    aten.any.dim: Rule(relate_sum),
    aten.any.default: Rule(relate_sum),
    **dict.fromkeys(
        (aten.var, aten.std, aten.prod, aten.all, aten.argmax, aten.argmin, aten.median),
        Rule(relate_statistic),
    ),
    **dict.fromkeys((aten.cumsum, aten.cumprod, aten.logcumsumexp), Rule(relate_running)),
    **dict.fromkeys((aten.var_mean, aten.std_mean), Rule(relate_statistic_pair)),
    **dict.fromkeys((aten.sort, aten.cummax, aten.cummin), Rule(relate_running_pair)),
    aten.argsort: Rule(relate_running),
}
