"""Operators that choose by value: tables looked up by tokens, experts routed to by scores."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site, Use, new_axes
from prunec.passes.ir.axes import Axis, size

aten = torch.ops.aten
_BY_DATA = "the input chooses positions of it by number, so none can be removed"


def relate_embedding(site: Site) -> Axes:
    """Weight [rows, width], indices [...] -> [..., width]; data chooses the rows."""
    rows, width = site.axes(site.argument("weight"))
    site.refuse(rows, _BY_DATA)
    site.use(Use.PRODUCED, width)
    return (*site.axes(site.argument("indices")), width)


def relate_topk(site: Site) -> list[Axes]:
    """The best k of a dimension, and their positions along it."""
    axes = site.axes(site.argument("self"))
    dim = site.argument("dim") % len(axes)
    count = site.argument("k")
    site.use(Use.ROUTED, axes[dim])
    site.walk.floors.append((axes[dim], count))
    values = site.node.meta["val"][0]
    best = new_axes(site.node, values)[dim]
    site.refuse(best, "it counts the best few of a dimension")
    result = (*axes[:dim], best, *axes[dim + 1 :])
    return [result, result]


def relate_index(site: Site) -> Axes:
    """X[..., indices, ...]: an indexed dimension is chosen from, the others pass."""
    x = site.axes(site.argument("self"))
    indices: list[Any] = list(site.argument("indices"))
    indices += [None] * (len(x) - len(indices))
    places = [d for d, index in enumerate(indices) if index is not None]
    if any(indices[d].meta["val"].dtype is torch.bool for d in places):
        return site.refuse_all("a mask picks its elements: the size depends on data")
    for d in places:
        _choose(site, x[d], indices[d])
    adjacent = places == list(range(places[0], places[-1] + 1))
    first = places[0] if adjacent else 0
    passing = [axis for d, axis in enumerate(x) if indices[d] is None]
    count = len(site.shape()) - len(passing)
    rows = list(site.new_axes()[first : first + count])
    for d in places:
        _share_rows(site, rows, site.axes(indices[d]))
    if len(places) == 1 and indices[places[0]] in site.walk.positions:
        site.walk.chosen += [(row, x[places[0]]) for row in rows]
    return (*passing[:first], *rows, *passing[first:])


def _share_rows(site: Site, rows: list[Axis], index: Axes) -> None:
    """The result's rows are the indices' own dimensions, broadcast."""
    for offset, axis in enumerate(reversed(index), start=1):
        if size(axis) == size(rows[-offset]):
            site.unify(rows[-offset], axis)


def relate_index_select(site: Site) -> Axes:
    """Positions of one dimension, chosen by a vector."""
    axes = list(site.axes(site.argument("self")))
    dim = site.argument("dim") % len(axes)
    _choose(site, axes[dim], site.argument("index"))
    axes[dim] = site.axes(site.argument("index"))[0]
    return tuple(axes)


def relate_gather(site: Site) -> Axes:
    """Along one dimension, for each position of an index; the other dimensions are shared."""
    x, index = site.axes(site.argument("self")), site.axes(site.argument("index"))
    dim = site.argument("dim") % len(x)
    _choose(site, x[dim], site.argument("index"))
    _share_beside(site, x, index, dim)
    return index


def relate_scatter(site: Site) -> Axes:
    """Write along one dimension at the positions of an index, what a source has there."""
    x, index = site.axes(site.argument("self")), site.axes(site.argument("index"))
    dim = site.argument("dim") % len(x)
    _choose(site, x[dim], site.argument("index"))
    _share_beside(site, x, index, dim)
    for source in site.node.all_input_nodes[2:]:
        _share_beside(site, site.axes(source), index, None)
    return x


def _share_beside(site: Site, axes: Axes, index: Axes, dim: int | None) -> None:
    """All dimensions but one are the index's own, or its first positions alone are used."""
    for d, (axis, own) in enumerate(zip(axes, index, strict=True)):
        if d == dim:
            continue
        if size(axis) == size(own):
            site.unify(axis, own)
        else:
            site.refuse(axis, "only its first positions are used")
            site.refuse(own, "only first positions are used along it")


def relate_one_hot(site: Site) -> Axes:
    """A one at each position of an axis: that axis becomes the last dimension."""
    index = site.node.all_input_nodes[0]
    last = site.walk.positions.get(index)
    if last is None or size(last) != site.shape()[-1]:
        return site.refuse_all(_BY_DATA)
    return (*site.axes(index), last)


def cut_one_hot(site: CutSite) -> None:
    """Count the positions that stay."""
    site.set_argument("num_classes", site.kept_size(site.axes()[-1]))


def _choose(site: Site, axis: Axis, index: Node) -> None:
    """Allow indexing by positions of the same axis; refuse any other."""
    positions = site.walk.positions.get(index)
    if positions is None:
        site.refuse(axis, _BY_DATA)
    else:
        site.unify(axis, positions)


_SCATTER = Rule(relate_scatter)
RULES = {
    aten.embedding: Rule(relate_embedding),
    aten.topk: Rule(relate_topk, neutral={"self": float("-inf")}),
    aten.index.Tensor: Rule(relate_index),
    aten.index_select: Rule(relate_index_select),
    aten.gather: Rule(relate_gather),
    aten.scatter: _SCATTER,
    aten.scatter_: _SCATTER,
    aten.scatter_add: _SCATTER,
    aten.one_hot: Rule(relate_one_hot, cut_one_hot),
}
"""Operators whose index argument may hold positions; elsewhere positions may not be used."""
