"""Operators that rearrange dimensions without touching values."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch

from prunec.passes.analysis.coupling.site import (
    Axes,
    Cut,
    CutSite,
    Relate,
    Rule,
    Site,
    Use,
    argument,
    keep_as_is,
)
from prunec.passes.ir.axes import (
    Atom,
    Axis,
    RefinementError,
    factors,
    peel,
    product,
    size,
)

aten = torch.ops.aten


def relate_view(site: Site) -> Axes:
    """Match dimensions from the left in groups of equal size; split and join within a group."""
    axes, sizes = site.axes(site.node.args[0]), site.shape()
    result = list[Axis]()
    i = o = 0
    while i < len(axes) or o < len(sizes):
        start_in, start_out = i, o
        volume_in = volume_out = 1
        while i == start_in or o == start_out or volume_in != volume_out:
            if i < len(axes) and (i == start_in or volume_in < volume_out):
                volume_in, i = volume_in * size(axes[i]), i + 1
            elif o < len(sizes) and (o == start_out or volume_out < volume_in):
                volume_out, o = volume_out * sizes[o], o + 1
            else:
                break
        result += _regroup(site, axes[start_in:i], sizes[start_out:o])
    return tuple(result)


def _regroup(site: Site, axes: Axes, sizes: tuple[int, ...]) -> list[Axis]:
    """Give the positions of some dimensions to others of the same volume."""
    if len(axes) == len(sizes) == 1:
        return list(axes)
    parts = [f for axis in axes for f in factors(axis)]
    result: list[Axis] = []
    try:
        for wanted in reversed(sizes):
            result.insert(0, product(peel(parts, wanted)) if wanted > 1 else Atom(1))
    except RefinementError as error:
        result = [Atom(s) for s in sizes]
        for axis in (*axes, *result):
            site.refuse(axis, f"a view splits it across its parts: {error}")
    return result


def cut_view(site: CutSite) -> None:
    """Rewrite the sizes; a view of a cut tensor may need a copy, so it becomes a reshape."""
    if any(site.is_cut(axis) for axis in site.axes()):
        site.node.target = aten.reshape.default
        set_sizes(site, "shape", site.axes())


def cut_expand(site: CutSite) -> None:
    """Rewrite the sizes among the arguments: those of the result's axes that stay."""
    set_sizes(site, "size", site.axes())


def set_sizes(site: CutSite, name: str, axes: Axes) -> None:
    """Set a list of sizes to what stays of these axes.

    A dynamic size that holds a cut one as a factor (batch × heads) is scaled by what stays.
    """
    sizes: list[Any] = list(argument(site.node, name))
    for dim, axis in enumerate(axes):
        if not site.is_cut(axis) or (isinstance(sizes[dim], int) and sizes[dim] == -1):
            continue
        left = site.kept_size(axis)
        if isinstance(sizes[dim], int):
            sizes[dim] = left
        else:
            share = math.gcd(left, size(axis))
            scaled = site.call(operator.mul, sizes[dim], left // share)
            sizes[dim] = site.call(operator.floordiv, scaled, size(axis) // share)
    site.set_argument(name, sizes)


def cut_unflatten(site: CutSite) -> None:
    """Rewrite the sizes of the dimensions that one is split into."""
    rank = len(site.axes(site.before.args[0]))
    dim = site.argument("dim") % rank
    count = len(site.argument("sizes"))
    set_sizes(site, "sizes", site.axes()[dim : dim + count])


def relate_expand(site: Site) -> Axes:
    """Dimensions of size 1 that grow become axes of their own, with no parameters behind them."""
    source = site.axes(site.node.args[0])
    result = list(site.new_axes())
    for offset in range(1, len(result) + 1):
        grown = result[-offset]
        axis = source[-offset] if offset <= len(source) else Atom(1)
        if size(axis) == size(grown):
            result[-offset] = axis
        else:
            site.use(Use.REPEATED, grown)
    return tuple(result)


def relate_repeat(site: Site) -> Axes:
    """Tile: a dimension that is repeated becomes repeats × itself."""
    source = site.axes(site.node.args[0])
    shape = site.shape()
    source = (*[Atom(1)] * (len(shape) - len(source)), *source)
    result = list[Axis]()
    for axis, total in zip(source, shape, strict=True):
        repeat = Atom(total // size(axis))
        if repeat.size > 1:
            site.use(Use.REPEATED, repeat)
        result.append(product([repeat, axis]))
    return tuple(result)


def cut_repeat(site: CutSite) -> None:
    """Repeat a dimension of size 1 as often as stays of it."""
    source, axes = site.axes(site.before.args[0]), site.axes()
    name = "repeats" if site.before.target is aten.repeat.default else "dims"
    given: list[Any] = list(argument(site.node, name))
    repeats = [1] * (len(axes) - len(given)) + given  # a tile may name trailing dimensions alone
    source = (*[Atom(1)] * (len(axes) - len(source)), *source)
    for dim, (axis, result) in enumerate(zip(source, axes, strict=True)):
        if site.is_cut(result) and isinstance(repeats[dim], int):
            repeats[dim] = site.kept_size(result) // site.kept_size(axis)
    site.set_argument(name, repeats)


def relate_repeat_interleave(site: Site) -> Axes:
    """Repeat each position in place: the dimension becomes itself × repeats."""
    axes = list(site.axes(site.node.args[0]))
    given = site.argument("dim")
    if given is None:
        return site.refuse_all("repeat_interleave without a dimension flattens its operand")
    dim = given % len(axes)
    repeat = Atom(site.shape()[dim] // size(axes[dim]))
    site.use(Use.REPEATED, repeat)
    axes[dim] = product([axes[dim], repeat])
    return tuple(axes)


def cut_repeat_interleave(site: CutSite) -> None:
    """Repeat as often as stays, and say how many positions that makes."""
    axes = site.axes(site.before.args[0])
    dim = site.argument("dim") % len(axes)
    result = site.axes()[dim]
    if site.is_cut(result):
        site.set_argument("repeats", site.kept_size(result) // site.kept_size(axes[dim]))
        if isinstance(site.argument("output_size"), int):
            site.set_argument("output_size", site.kept_size(result))


def relate_transpose(site: Site) -> Axes:
    """Swap two dimensions."""
    axes = list(site.axes(site.node.args[0]))
    a: Any = site.node.args[1]
    b: Any = site.node.args[2]
    axes[a], axes[b] = axes[b], axes[a]
    return tuple(axes)


def relate_reversed(site: Site) -> Axes:
    """Reverse the order of all dimensions."""
    return tuple(reversed(site.axes(site.node.args[0])))


def relate_swapped_matrix(site: Site) -> Axes:
    """Swap the last two dimensions."""
    axes = site.axes(site.node.args[0])
    return (*axes[:-2], axes[-1], axes[-2])


def relate_permute(site: Site) -> Axes:
    """Reorder dimensions."""
    axes = site.axes(site.node.args[0])
    return tuple(axes[dim] for dim in site.argument("dims"))


def relate_movedim(site: Site) -> Axes:
    """Move one dimension to another place."""
    axes = list(site.axes(site.node.args[0]))
    source, destination = (site.argument(n) % len(axes) for n in ("source", "destination"))
    axes.insert(destination, axes.pop(source))
    return tuple(axes)


def relate_unsqueeze(site: Site) -> Axes:
    """Insert a dimension of size 1."""
    axes = list(site.axes(site.node.args[0]))
    axes.insert(site.argument("dim") % (len(axes) + 1), Atom(1))
    return tuple(axes)


def relate_squeeze(site: Site) -> Axes:
    """Remove dimensions of size 1."""
    axes = site.axes(site.node.args[0])
    dims: Any = site.node.args[1] if len(site.node.args) > 1 else range(len(axes))
    gone = {d % len(axes) for d in ([dims] if isinstance(dims, int) else dims)}
    return tuple(a for d, a in enumerate(axes) if not (d in gone and size(a) == 1))


def relate_as_complex(site: Site) -> Axes:
    """Real and imaginary part, side by side in the last dimension, become one number."""
    *axes, pair = site.axes(site.node.args[0])
    site.refuse(pair, "it is a real and an imaginary part")
    return tuple(axes)


def cut_as_complex(site: CutSite) -> None:
    """Lay the operand out anew: what a cut leaves may have odd strides."""
    (operand,) = site.node.all_input_nodes
    site.node.replace_input_with(operand, site.call(aten.contiguous.default, operand))


def relate_as_real(site: Site) -> Axes:
    """A complex number becomes a last dimension of two."""
    pair = Atom(2)
    site.refuse(pair, "it is a real and an imaginary part")
    return (*site.axes(site.node.args[0]), pair)


def relate_filled(site: Site) -> Axes:
    """Tensors of one value, made from sizes: axes of their own."""
    return site.new_axes()


def cut_filled(site: CutSite) -> None:
    """Rewrite the sizes: those of the result's axes that stay."""
    set_sizes(site, "size", site.axes())


def relate_counted(site: Site) -> Axes:
    """Tensors whose values count positions: cut only where a use gathers from them."""
    return site.refused_axes("its values count positions")


def relate_unfold(site: Site) -> Axes:
    """Overlapping windows of one dimension, added as a last one."""
    axes = list(site.axes(site.node.args[0]))
    dim = site.argument("dimension") % len(axes)
    site.refuse(axes[dim], "windows overlap on it")
    new = site.refused_axes("windows overlap on it")
    axes[dim] = new[dim]
    return (*axes, new[-1])


def relate_roll(site: Site) -> Axes:
    """Turn dimensions round: what they hold changes place, so they stay whole."""
    axes = site.axes(site.node.args[0])
    for dim in site.argument("dims") or range(len(axes)):
        site.refuse(axes[dim], "positions of it change place by number")
    return axes


def relate_triangle(site: Site) -> Axes:
    """Keep one side of the diagonal of the last two dimensions."""
    axes = site.axes(site.node.args[0])
    for axis in axes[-2:]:
        site.refuse(axis, "positions of it are compared by number")
    return axes


def relate_pad(site: Site) -> Axes:
    """Add to the ends of trailing dimensions; those that get nothing pass."""
    axes = list(site.axes(site.node.args[0]))
    new = site.new_axes()
    amounts = site.argument("pad")
    for offset in range(len(amounts) // 2):
        if amounts[2 * offset : 2 * offset + 2] not in ([0, 0], (0, 0)):
            dim = len(axes) - 1 - offset
            site.refuse(axes[dim], "it is padded at its ends")
            site.refuse(new[dim], "it is padded at its ends")
            axes[dim] = new[dim]
    return tuple(axes)


def _pass(relate: Relate, cut: Cut = keep_as_is) -> Rule:
    """A rule of an operator that moves integers about without changing them."""
    return Rule(relate, cut, keeps_positions=True)


_VIEW = _pass(relate_view, cut_view)
RULES: dict[Any, Rule] = {
    aten.view.default: _VIEW,
    aten.reshape: _VIEW,
    aten._unsafe_view: _VIEW,
    aten.flatten: _pass(relate_view),
    aten.ravel: _pass(relate_view),
    aten.unflatten: _pass(relate_view, cut_unflatten),
    aten.expand: _pass(relate_expand, cut_expand),
    aten.broadcast_to: _pass(relate_expand, cut_expand),
    aten.expand_as: _pass(relate_expand),
    aten.repeat: _pass(relate_repeat, cut_repeat),
    aten.tile: _pass(relate_repeat, cut_repeat),
    aten.repeat_interleave.self_int: _pass(relate_repeat_interleave, cut_repeat_interleave),
    aten.transpose: _pass(relate_transpose),
    aten.swapaxes: _pass(relate_transpose),
    aten.swapdims: _pass(relate_transpose),
    aten.t: _pass(relate_reversed),
    aten.numpy_T: _pass(relate_reversed),
    aten.mT: _pass(relate_swapped_matrix),
    aten.permute: _pass(relate_permute),
    aten.movedim.int: _pass(relate_movedim),
    aten.moveaxis.int: _pass(relate_movedim),
    aten.unsqueeze: _pass(relate_unsqueeze),
    aten.squeeze: _pass(relate_squeeze),
    aten.view_as_complex: Rule(relate_as_complex, cut_as_complex),
    aten.view_as_real: Rule(relate_as_real),
    aten.unfold: Rule(relate_unfold),
    aten.tril: Rule(relate_triangle),
    aten.triu: Rule(relate_triangle),
    aten.roll: Rule(relate_roll),
    aten.flip: Rule(relate_roll),
    aten.pad: Rule(relate_pad),
    aten.constant_pad_nd: Rule(relate_pad),
    **dict.fromkeys(
        (aten.full, aten.zeros, aten.ones, aten.empty, aten.new_ones, aten.new_zeros,
         aten.new_full, aten.new_empty),
        Rule(relate_filled, cut_filled),
    ),
    **dict.fromkeys((aten.arange, aten.scalar_tensor, aten.eye, aten.linspace),
                    Rule(relate_counted)),
}  # fmt: skip
