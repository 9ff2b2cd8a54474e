"""Operators that rearrange dimensions without touching values."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site, Use
from prunec.passes.ir.axes import Atom, Axis, RefinementError, factors, peel, product, size

aten = torch.ops.aten


def relate_view(site: Site) -> Axes:
    """Match dimensions from the left in groups of equal size; split and join within a group."""
    source = site.node.args[0]
    assert isinstance(source, Node)
    sizes_in, sizes_out = list(source.meta["val"].shape), list(site.node.meta["val"].shape)
    axes, result = site.axes(source), list[Axis | None]()
    i = o = 0
    while i < len(sizes_in) or o < len(sizes_out):
        start_in, start_out = i, o
        volume_in: Any = 1
        volume_out: Any = 1
        while True:
            if i < len(sizes_in) and (i == start_in or not _reaches(volume_in, volume_out)):
                volume_in, i = volume_in * sizes_in[i], i + 1
            if o < len(sizes_out) and (o == start_out or not _reaches(volume_out, volume_in)):
                volume_out, o = volume_out * sizes_out[o], o + 1
            if _equal(volume_in, volume_out) or (i == len(sizes_in) and o == len(sizes_out)):
                break
        result += _regroup(site, axes[start_in:i], sizes_out[start_out:o])
    return tuple(result)


def _regroup(site: Site, axes: Axes, sizes: list[Any]) -> list[Axis | None]:
    """Give the positions of some dimensions to others of the same volume."""
    if len(axes) == len(sizes) == 1:
        return list(axes)
    static = [a for a in axes if a is not None]
    if len(static) < len(axes) or not all(isinstance(s, int) for s in sizes):
        return _regroup_dynamic(site, axes, sizes)
    parts = [f for axis in static for f in factors(axis)]
    result: list[Axis | None] = []
    try:
        for wanted in reversed(sizes):
            result.insert(0, product(peel(parts, wanted)) if wanted > 1 else Atom(1))
    except RefinementError as error:
        return _refuse_group(site, axes, sizes, f"a view splits it across its parts: {error}")
    return result


def _regroup_dynamic(site: Site, axes: Axes, sizes: list[Any]) -> list[Axis | None]:
    """A group that holds dynamic sizes: only sizes of 1 may come and go beside them."""
    solid = [a for a in axes if a is not None and size(a) > 1]
    wanted = [s for s in sizes if isinstance(s, int) and s > 1]
    if solid or wanted:
        return _refuse_group(site, axes, sizes, "a view folds it with a dynamic dimension")
    return [Atom(1) if isinstance(s, int) else None for s in sizes]


def _refuse_group(site: Site, axes: Axes, sizes: list[Any], reason: str) -> list[Axis | None]:
    result = [Atom(s) if isinstance(s, int) else None for s in sizes]
    for axis in (*axes, *result):
        site.refuse(axis, reason)
    return list(result)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    return _expression(a) == _expression(b)


def _reaches(a: Any, b: Any) -> bool:
    """Whether a volume needs no further dimension to catch up with the other."""
    if isinstance(a, int) and isinstance(b, int):
        return a >= b
    return not isinstance(a, int)


def _expression(value: Any) -> Any:
    return value.node.expr if isinstance(value, torch.SymInt) else value


def cut_sizes(site: CutSite) -> None:
    """Rewrite the sizes among the arguments: those of the result's axes that stay."""
    sizes = list(site.node.args[1])  # type: ignore[arg-type]
    for dim, axis in enumerate(site.axes()):
        if isinstance(sizes[dim], int) and sizes[dim] != -1 and axis is not None:
            sizes[dim] = site.kept_size(axis)
    site.set_argument(1, sizes)


def relate_expand(site: Site) -> Axes:
    """Dimensions of size 1 that grow become axes of their own, with no parameters behind them."""
    source = site.axes(site.node.args[0])
    result = list(site.new_axes())
    for offset, axis in enumerate(reversed(source), start=1):
        grown = result[-offset]
        if axis is not None and (grown is None or size(axis) != size(grown)):
            site.use(Use.REPEATED, grown)
        else:
            result[-offset] = axis
    return tuple(result)


def relate_transpose(site: Site) -> Axes:
    """Swap two dimensions."""
    axes = list(site.axes(site.node.args[0]))
    a: Any = site.node.args[1]
    b: Any = site.node.args[2]
    axes[a], axes[b] = axes[b], axes[a]
    return tuple(axes)


def relate_transpose_matrix(site: Site) -> Axes:
    """Swap the two dimensions of a matrix."""
    return tuple(reversed(site.axes(site.node.args[0])))


def relate_permute(site: Site) -> Axes:
    """Reorder dimensions."""
    axes = site.axes(site.node.args[0])
    return tuple(axes[dim] for dim in site.node.args[1])  # type: ignore[index, union-attr]


def relate_unsqueeze(site: Site) -> Axes:
    """Insert a dimension of size 1."""
    axes = list(site.axes(site.node.args[0]))
    dim = site.node.args[1]
    assert isinstance(dim, int)
    axes.insert(dim % (len(axes) + 1), Atom(1))
    return tuple(axes)


def relate_squeeze(site: Site) -> Axes:
    """Remove dimensions of size 1."""
    axes = site.axes(site.node.args[0])
    dims: Any = site.node.args[1]
    gone = {d % len(axes) for d in ([dims] if isinstance(dims, int) else dims)}
    return tuple(
        a for d, a in enumerate(axes) if not (d in gone and a is not None and size(a) == 1)
    )


def relate_new(site: Site) -> Axes:
    """Tensors made from sizes: axes of their own."""
    return site.new_axes()


_VIEW = Rule(relate_view, cut_sizes)
RULES = {
    aten.view: _VIEW,
    aten.reshape: _VIEW,
    aten._unsafe_view: _VIEW,
    aten.flatten: Rule(relate_view),
    aten.expand: Rule(relate_expand, cut_sizes),
    aten.transpose: Rule(relate_transpose),
    aten.t: Rule(relate_transpose_matrix),
    aten.permute: Rule(relate_permute),
    aten.unsqueeze: Rule(relate_unsqueeze),
    aten.squeeze.dim: Rule(relate_squeeze),
    aten.squeeze.dims: Rule(relate_squeeze),
    aten.arange: Rule(relate_new),
    aten.full: Rule(relate_new),
    aten.zeros: Rule(relate_new),
    aten.ones: Rule(relate_new),
    aten.new_ones: Rule(relate_new),
    aten.new_zeros: Rule(relate_new),
    aten.new_full: Rule(relate_new),
    aten.scalar_tensor: Rule(relate_new),
}
