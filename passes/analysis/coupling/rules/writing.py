"""Operators that write a part of a tensor: what they write to passes, the part fits into it."""

from __future__ import annotations

import torch

from prunec.passes.analysis.coupling.rules.joining import (
    cut_select,
    move_bounds,
    pick_position,
    segment,
)
from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site

aten = torch.ops.aten
_BY_NUMBER = "positions of it are written by number"


def relate_slice_scatter(site: Site) -> Axes:
    """Write a range of one dimension: a segment of it is the source's own."""
    axes, source = site.axes(site.argument("self")), site.axes(site.argument("src"))
    dim = site.argument("dim") % len(axes)
    part = segment(site, axes[dim], source[dim])
    for d, axis in enumerate(axes):
        site.unify(part if d == dim else axis, source[d])
    return axes


def cut_slice_scatter(site: CutSite) -> None:
    """Move the bounds: count what stays before the range and inside it."""
    dim = site.argument("dim") % len(site.axes())
    move_bounds(site, site.axes(site.argument("src"))[dim])


def relate_select_scatter(site: Site) -> Axes:
    """Write one position of a dimension, which is fixed: its segment stays whole."""
    axes, source = site.axes(site.argument("self")), site.axes(site.argument("src"))
    dim = site.argument("dim") % len(axes)
    pick_position(site, axes[dim])
    for axis, own in zip((*axes[:dim], *axes[dim + 1 :]), source, strict=True):
        site.unify(axis, own)
    return axes


def relate_index_write(site: Site) -> Axes:
    """Write positions of one dimension that an index names; a source has the other dimensions."""
    axes = site.axes(site.argument("self"))
    dim = site.argument("dim") % len(axes)
    site.refuse(axes[dim], _BY_NUMBER)
    for operand in site.node.all_input_nodes[2:]:
        for d, own in enumerate(site.axes(operand)):
            if d == dim:
                site.refuse(own, _BY_NUMBER)
            else:
                site.unify(axes[d], own)
    return axes


RULES = {
    aten.slice_scatter: Rule(relate_slice_scatter, cut_slice_scatter),
    aten.select_scatter: Rule(relate_select_scatter, cut_select),
    **dict.fromkeys((aten.index_fill, aten.index_add, aten.index_copy), Rule(relate_index_write)),
}
