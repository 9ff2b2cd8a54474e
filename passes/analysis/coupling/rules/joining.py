"""Operators that put dimensions together or take parts of them."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.site import (
    Axes,
    CutSite,
    Rule,
    Site,
    argument,
    new_axes,
)
from prunec.passes.ir.axes import (
    Atom,
    Axis,
    RefinementError,
    concat,
    leaves,
    size,
    split_front,
    split_inner,
)
from prunec.passes.ir.shapes import is_dynamic

aten = torch.ops.aten


def relate_cat(site: Site) -> Axes:
    """Segments along one dimension; every other dimension is shared."""
    operands = [site.axes(operand) for operand in site.argument("tensors")]
    rank = len(site.shape())
    dim = site.argument("dim") % rank
    axes = [a for a in operands if len(a) == rank]  # a tensor of shape [0] joins anything
    for other in axes[1:]:
        for d in range(rank):
            if d != dim:
                site.unify(axes[0][d], other[d])
    result = list(axes[0])
    result[dim] = concat([a[dim] for a in axes])
    return tuple(result)


def relate_stack(site: Site) -> Axes:
    """A new dimension that counts the operands; every other is shared."""
    operands = [site.axes(operand) for operand in site.argument("tensors")]
    for other in operands[1:]:
        for a, b in zip(operands[0], other, strict=True):
            site.unify(a, b)
    counter = Atom(len(operands))
    site.refuse(counter, "it counts tensors that are stacked")
    result = list(operands[0])
    result.insert(site.argument("dim") % (len(result) + 1), counter)
    return tuple(result)


def relate_slice(site: Site) -> Axes:
    """A range of one dimension: a segment of it. Every k-th position: an outer part of it."""
    axes = list(site.axes(site.argument("self")))
    dim = site.argument("dim") % len(axes)
    axes[dim] = segment(site, axes[dim], site.new_axes()[dim])
    return tuple(axes)


def segment(site: Site, axis: Axis, otherwise: Axis) -> Axis:
    """What a node's bounds take of an axis.

    Args:
        site: A slice, or what writes to one.
        axis: The whole dimension.
        otherwise: An axis of the part's size, refused and returned where the bounds do not fit.
    """
    bounds = _bounds(site.node)
    try:
        if bounds is None:
            raise RefinementError("its bounds depend on a dynamic size")
        _, start, step = bounds
        return _part(site, axis, start, size(otherwise), step)
    except RefinementError as error:
        for refused in (axis, otherwise):
            site.refuse(refused, f"a slice cuts through its parts: {error}")
        return otherwise


def _part(site: Site, axis: Axis, start: int, length: int, step: int) -> Axis:
    if step != 1:
        outer, inner = split_inner(axis, step)
        site.refuse(inner, "every other position of it is picked by number")
        if start >= step or length != size(outer):
            raise RefinementError("it takes a part of every so many positions")
        return outer
    if start:
        _, axis = split_front(axis, start)
    return split_front(axis, length)[0] if length < size(axis) else axis


def cut_slice(site: CutSite) -> None:
    """Move the bounds: count what stays before the range and inside it."""
    move_bounds(site, site.axes()[site.argument("dim")])


def move_bounds(site: CutSite, part: Axis) -> None:
    """Let a slice of what is left take what is left of a part."""
    bounds = _bounds(site.before)
    if bounds is None:
        return
    dim, start, step = bounds
    whole = site.axes(site.argument("self"))[dim]
    if step != 1 or not site.is_cut(whole):  # an end past the last position is that position
        return
    before = site.kept_size(split_front(whole, start)[0]) if start else 0
    site.set_argument("start", before)
    site.set_argument("end", before + site.kept_size(part))


def _bounds(node: Node) -> tuple[int, int, int] | None:
    """Dimension, start and step of a slice, start never negative; None where not static."""
    source = argument(node, "self").meta["val"]
    dim = argument(node, "dim") % source.dim()
    given = [argument(node, name) for name in ("start", "end", "step")]
    if is_dynamic(source.shape[dim]) or not all(g is None or isinstance(g, int) for g in given):
        return None
    start, _, step = slice(*given).indices(source.shape[dim])
    return dim, start, step


def relate_select(site: Site) -> Axes:
    """One position of a dimension. Which one is fixed, so its segment stays whole."""
    axes = list(site.axes(site.argument("self")))
    pick_position(site, axes.pop(_selected(site.node)[0]))
    return tuple(axes)


def pick_position(site: Site, picked: Axis) -> None:
    """Keep the segment of an axis that has the position which a node names."""
    _, index = _selected(site.node)
    if isinstance(index, int) and not any(leaf.is_dynamic for leaf in leaves(picked)):
        try:
            rest = split_front(picked, index)[1] if index else picked
            picked = split_front(rest, 1)[0] if size(rest) > 1 else rest
        except RefinementError:
            pass  # the position lies inside a group that is repeated: the whole axis is refused
    site.refuse(picked, "one position of it is picked by number")


def cut_select(site: CutSite) -> None:
    """Count what stays before the position."""
    dim, index = _selected(site.before)
    whole = site.axes(site.argument("self"))[dim]
    if index and site.is_cut(whole):
        site.set_argument("index", site.kept_size(split_front(whole, index)[0]))


def _selected(node: Node) -> tuple[int, Any]:
    """Dimension and index of a selection; a number is never negative."""
    source = argument(node, "self").meta["val"]
    dim, index = argument(node, "dim") % source.dim(), argument(node, "index")
    if isinstance(index, int) and isinstance(source.shape[dim], int):
        index %= source.shape[dim]
    return dim, index


def relate_unbind(site: Site) -> list[Axes]:
    """Each position of a dimension as a tensor of its own."""
    axes = list(site.axes(site.argument("self")))
    site.refuse(axes.pop(site.argument("dim")), "its positions are taken apart by number")
    return [tuple(axes)] * len(site.node.meta["val"])


def relate_split(site: Site) -> list[Axes]:
    """Neighbouring segments of one dimension, each a tensor of its own."""
    axes = site.axes(site.argument("self"))
    dim = site.argument("dim") % len(axes)
    sizes = [part.shape[dim] for part in site.node.meta["val"]]
    if any(is_dynamic(s) for s in sizes):
        return [new_axes(site.node, part) for part in site.node.meta["val"]]
    rest, parts = axes[dim], list[Axis]()
    try:
        for length in sizes[:-1]:
            part, rest = split_front(rest, length)
            parts.append(part)
        parts.append(rest)
    except RefinementError as error:
        parts = [Atom(s) for s in sizes]
        for axis in (axes[dim], *parts):
            site.refuse(axis, f"a split cuts through its parts: {error}")
    return [(*axes[:dim], part, *axes[dim + 1 :]) for part in parts]


def cut_split(site: CutSite) -> None:
    """Name the size of each segment: they need not be equal any more."""
    axes = site.axes(site.argument("self"))
    dim = site.argument("dim") % len(axes)
    if not site.is_cut(axes[dim]):
        return
    sizes = [site.kept_size(part[dim]) for part in site.walk.parts[site.before]]
    split = site.call(
        aten.split_with_sizes.default, site.node.all_input_nodes[0], sizes, site.argument("dim")
    )
    site.replace_with(split)


def relate_glu(site: Site) -> Axes:
    """One half of a dimension gates the other."""
    axes = list(site.axes(site.argument("self")))
    dim = site.argument("dim") % len(axes)
    try:
        first, second = split_front(axes[dim], size(axes[dim]) // 2)
    except RefinementError as error:
        return site.refuse_all(f"its halves do not line up with the parts: {error}")
    site.unify(first, second)
    axes[dim] = first
    return tuple(axes)


_SPLIT = Rule(relate_split, cut_split, keeps_positions=True)
RULES = {
    aten.cat: Rule(relate_cat),
    aten.concat: Rule(relate_cat),
    aten.stack: Rule(relate_stack),
    aten.slice: Rule(relate_slice, cut_slice, keeps_positions=True),
    aten.select: Rule(relate_select, cut_select, keeps_positions=True),
    aten.unbind: Rule(relate_unbind),
    aten.split: _SPLIT,
    aten.split_with_sizes: _SPLIT,
    aten.chunk: _SPLIT,
    aten.glu: Rule(relate_glu),
}
