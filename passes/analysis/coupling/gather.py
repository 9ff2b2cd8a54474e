"""Gather an operand that is shared by many structures down to what one use of it needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.site import CutSite
from prunec.passes.ir.axes import Atom, Axis, factors, leaves, product, size
from prunec.passes.ir.selection import kept, outer_elsewhere, unit_of
from prunec.passes.ir.take import dim_of, kept_table

aten = torch.ops.aten


def gather_operands(site: CutSite) -> None:
    """Gather the operands with no parameters behind them where this use needs fewer."""
    for operand, copied in zip(site.before.all_input_nodes, site.node.all_input_nodes, strict=True):
        axes = site.walk.gathers.get((site.before, operand), ())
        gathered = gather_operand(site, copied, axes)
        if gathered is not copied:
            site.node.replace_input_with(copied, gathered)


def gather_operand(site: CutSite, operand: Node, axes: Sequence[Axis]) -> Node:
    """What stays of an operand; the same node where all does.

    Args:
        site: The user that is being cut.
        operand: The copied operand.
        axes: Its axes as the user sees them.
    """
    dims = [d for d, axis in enumerate(axes) if site.is_cut(axis)]
    for dim in sorted(dims, key=lambda d: outer_elsewhere(axes[d], site.selection) is None):
        outer = outer_elsewhere(axes[dim], site.selection)
        if outer is not None:
            operand = _gather_per_unit(site, operand, axes, dim, outer)
        elif _is_dynamic(axes[dim]):
            operand = _gather_beside_dynamic(site, operand, dim, axes[dim])
        else:
            operand = _select(site, operand, dim, kept(axes[dim], site.selection))
    return operand


def _select(site: CutSite, operand: Node, dim: int, indices: object) -> Node:
    table = site.add_buffer(torch.as_tensor(indices).clone())
    return site.call(aten.index_select.default, operand, dim, table)


def _gather_beside_dynamic(site: CutSite, operand: Node, dim: int, axis: Axis) -> Node:
    """A dimension that folds a dynamic one with static ones: unfold it meanwhile."""
    parts = factors(axis)
    dynamic = [place for place, part in enumerate(parts) if _is_dynamic(part)]
    before, after = product(parts[: dynamic[0]]), product(parts[dynamic[-1] + 1 :])
    unfolded = site.call(aten.unflatten.int, operand, dim, [size(before), -1, size(after)])
    for place, static in ((dim, before), (dim + 2, after)):
        if site.is_cut(static):
            unfolded = _select(site, unfolded, place, kept(static, site.selection))
    return site.call(aten.flatten.using_ints, unfolded, dim, dim + 2)


def _is_dynamic(axis: Axis) -> bool:
    return any(leaf.is_dynamic for leaf in leaves(axis))


def _gather_per_unit(
    site: CutSite, operand: Node, axes: Sequence[Axis], dim: int, outer: Atom
) -> Node:
    """A table that all heads share, cut differently for each head: [1, d] -> [heads, kept]."""
    result = site.axes()
    above = dim_of(result, outer)
    assert above is not None, "the result has the outer axis"
    for _ in range(len(result) - len(axes)):
        operand = site.call(aten.unsqueeze.default, operand, 0)
    dim += len(result) - len(axes)
    axes = (*[Atom(1)] * (len(result) - len(axes)), *axes)
    place = above
    rows = kept_table(axes[dim], outer, site.selection)[unit_of(result[above], outer)]
    rows = rows[kept(result[above], site.selection)]
    assert size(axes[place]) == 1, "the table has none of its own, and a place for it"
    count, width = rows.shape
    flat = _select(site, operand, dim, rows.ravel())
    split = site.call(aten.unflatten.int, flat, dim, [count, width])
    without = site.call(aten.squeeze.dim, split, place)
    order = [d for d in range(len(axes)) if d != dim - 1]
    order.insert(place, dim - 1)
    return site.call(aten.permute.default, without, order)
