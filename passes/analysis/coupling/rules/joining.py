"""Operators that put dimensions together or take parts of them."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.rules.contraction import refuse_all
from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site
from prunec.passes.ir.axes import Axis, RefinementError, concat, size, split_front

aten = torch.ops.aten


def relate_cat(site: Site) -> Axes:
    """Segments along one dimension; every other dimension is shared."""
    operands = [o for o in site.node.args[0] if isinstance(o, Node)]  # type: ignore[union-attr]
    axes = [site.axes(operand) for operand in operands]
    rank = len(site.shape())
    dim = int(site.node.args[1]) % rank if len(site.node.args) > 1 else 0  # type: ignore[arg-type]
    result: list[Axis | None] = list(axes[0])
    for other in axes[1:]:
        for d in range(rank):
            if d != dim:
                site.unify(result[d], other[d])
    parts = [a[dim] for a in axes]
    known = [p for p in parts if p is not None]
    result[dim] = concat(known) if len(known) == len(parts) else None
    for part in known if result[dim] is None else []:
        site.refuse(part, "it is joined with a dynamic dimension")
    return tuple(result)


def relate_slice(site: Site) -> Axes:
    """A range of one dimension: a segment of it."""
    axes = list(site.axes(site.node.args[0]))
    dim, start, step = _bounds(site.node)
    axis = axes[dim]
    if axis is None:
        return tuple(axes)
    if step != 1:
        return refuse_all(site, "a strided slice takes every other position")
    length = site.shape()[dim]
    if length is None:
        return refuse_all(site, "a slice of dynamic length cuts through it")
    try:
        if start:
            _, axis = split_front(axis, start)
        if length < size(axis):
            axis, _ = split_front(axis, length)
    except RefinementError as error:
        site.refuse(axes[dim], f"a slice cuts through its parts: {error}")
        axes[dim] = site.new_axes()[dim]
        site.refuse(axes[dim], f"a slice cuts through its parts: {error}")
        return tuple(axes)
    axes[dim] = axis
    return tuple(axes)


def cut_slice(site: CutSite) -> None:
    """Move the bounds: count what stays before the range and inside it."""
    dim, start, _ = _bounds(site.before)
    whole, part = site.axes(site.before.args[0])[dim], site.axes()[dim]
    if whole is None or part is None or not site.is_cut(whole):
        return
    before = site.kept_size(split_front(whole, start)[0]) if start else 0
    site.set_argument(2, before)
    site.set_argument(3, before + site.kept_size(part))


def _bounds(node: Node) -> tuple[int, int, int]:
    """Dimension, start and step of a slice; start is never negative."""
    source = node.args[0]
    assert isinstance(source, Node)
    sizes = source.meta["val"].shape
    given: dict[str, Any] = dict(zip(("dim", "start", "end", "step"), node.args[1:], strict=False))
    dim = given.get("dim", 0) % len(sizes)
    if not isinstance(sizes[dim], int):
        return dim, 0, 1
    whole = slice(given.get("start"), given.get("end"), given.get("step", 1))
    start, _, step = whole.indices(sizes[dim])
    return dim, start, step


def relate_select(site: Site) -> Axes:
    """One position of a dimension; which one is fixed, so that axis stays whole."""
    axes = list(site.axes(site.node.args[0]))
    dim = int(site.node.args[1])  # type: ignore[arg-type]
    site.refuse(axes[dim], "one position of it is picked by number")
    del axes[dim]
    return tuple(axes)


def relate_index(site: Site) -> Axes:
    """Advanced indexing: allowed on dynamic dimensions, refused on static ones."""
    return refuse_all(site, "it is indexed by data")


RULES = {
    aten.cat: Rule(relate_cat),
    aten.slice: Rule(relate_slice, cut_slice),
    aten.select: Rule(relate_select),
    aten.index: Rule(relate_index),
    aten.index_select: Rule(relate_index),
}
