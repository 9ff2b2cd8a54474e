"""Convolutions and what slides over space like them: channels pass, extents are refused."""

from __future__ import annotations

import re

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site, Use, new_axes
from prunec.passes.ir.axes import Atom, Axis, RefinementError, product, size, split_inner

aten = torch.ops.aten
_SLIDES = "a window slides over it"


def relate_convolution(site: Site) -> Axes:
    """X [batch, in, *space] · weight [out, in / groups, *kernel] -> [batch, out, *space]."""
    return _convolve(site, out_dim=0)


def relate_transposed(site: Site) -> Axes:
    """X [batch, in, *space] · weight [in, out / groups, *kernel] -> [batch, out, *space]."""
    return _convolve(site, out_dim=1)


def relate_any(site: Site) -> Axes:
    """Either of them, as decompositions spell it."""
    return _convolve(site, out_dim=int(site.argument("transposed")))


def _convolve(site: Site, out_dim: int) -> Axes:
    x, weight = site.axes(site.argument("input")), site.axes(site.argument("weight"))
    rank = len(weight) - 2
    channels, out, groups = x[-rank - 1], weight[out_dim], site.argument("groups")
    for axis in (*x[-rank:], *weight[2:]):
        site.refuse(axis, _SLIDES)
    if groups == 1:
        site.unify(channels, weight[1 - out_dim])
        _use(site, channels, out)
    else:
        try:
            out = _relate_groups(site, channels, weight, out_dim)
        except RefinementError as error:
            return site.refuse_all(f"its groups do not line up with the channels: {error}")
    bias = site.argument("bias")
    if isinstance(bias, Node):
        site.unify(out, site.axes(bias)[0])
    space = site.new_axes()[-rank:]
    for axis in space:
        site.refuse(axis, _SLIDES)
    return (*x[: -rank - 1], out, *space)


def _relate_groups(site: Site, channels: Axis, weight: Axes, out_dim: int) -> Axis:
    """The output channels. Whole groups go together; a depthwise one has a channel in each.

    The weight's first dimension has all groups, its second the channels of one of them.
    """
    groups = site.argument("groups")
    group, inner = split_inner(channels, size(channels) // groups)
    each = Atom(size(weight[0]) // groups) if out_dim == 0 else weight[1]
    out = product([group, each])
    site.unify(weight[out_dim], out if out_dim == 0 else each)
    site.unify(weight[1 - out_dim], inner if out_dim == 0 else channels)
    if size(inner) > 1:
        _use(site, inner, each)
    return out


def _use(site: Site, summed: Axis, out: Axis) -> None:
    site.use(Use.CONSUMED, summed)
    site.use(Use.PRODUCED, out)
    site.use(Use.CONVOLVED, out)


def cut_convolution(site: CutSite) -> None:
    """Count the groups that stay."""
    groups = site.argument("groups")
    if groups == 1:
        return
    weight = site.axes(site.argument("weight"))
    group, _ = split_inner(weight[0], size(weight[0]) // groups)
    site.set_argument("groups", site.kept_size(group))


def relate_window(site: Site) -> Axes:
    """Pooling and resizing: the trailing dimensions change, what stands before them passes."""
    rank = _rank(site)
    x = site.axes(site.node.args[0])
    space = site.new_axes()[-rank:]
    for axis in (*x[-rank:], *space):
        site.refuse(axis, _SLIDES)
    return (*x[:-rank], *space)


def _rank(site: Site) -> int:
    """How many dimensions the window has: the digit in ``avg_pool2d``."""
    found = re.search(r"(\d)d", str(site.node.target))
    assert found is not None
    return int(found[1])


def relate_window_with_indices(site: Site) -> list[Axes]:
    """Max pooling that also says where each maximum was."""
    rank = _rank(site)
    x = site.axes(site.node.args[0])
    space = new_axes(site.node, site.node.meta["val"][0])[-rank:]
    for axis in (*x[-rank:], *space):
        site.refuse(axis, _SLIDES)
    return [(*x[:-rank], *space)] * 2


_CONVOLUTION = Rule(relate_convolution, cut_convolution)
_TRANSPOSED = Rule(relate_transposed, cut_convolution)
_WINDOW = Rule(relate_window)
_WINDOWS = (
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
    "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d",
    "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
)  # fmt: skip
_WINDOWS_WITH_INDICES = (
    "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
)  # fmt: skip
RULES = {
    **{getattr(aten, f"conv{rank}d"): _CONVOLUTION for rank in (1, 2, 3)},
    aten.convolution: Rule(relate_any, cut_convolution),
    aten.conv_transpose1d: _TRANSPOSED,
    aten.conv_transpose2d.input: _TRANSPOSED,
    aten.conv_transpose3d.input: _TRANSPOSED,
    **{getattr(aten, name): _WINDOW for name in _WINDOWS},
    **dict.fromkeys(
        (getattr(aten, name) for name in _WINDOWS_WITH_INDICES), Rule(relate_window_with_indices)
    ),
}
