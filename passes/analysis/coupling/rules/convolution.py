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
    if site.argument("groups") != 1:
        return site.refuse_all("a grouped transposed convolution has no rule")
    return _convolve(site, out_dim=1)


def _convolve(site: Site, out_dim: int) -> Axes:
    x, weight = site.axes(site.argument("input")), site.axes(site.argument("weight"))
    rank = len(weight) - 2
    channels, out, groups = x[-rank - 1], weight[out_dim], site.argument("groups")
    for axis in (*x[-rank:], *weight[2:]):
        site.refuse(axis, _SLIDES)
    if groups == 1:
        site.unify(channels, weight[1 - out_dim])
        site.use(Use.CONSUMED, channels)
        site.use(Use.PRODUCED, out)
        site.use(Use.CONVOLVED, out)
    elif not _relate_groups(site, channels, weight, groups):
        return site.refused_axes("its groups do not line up with the channels")
    bias = site.argument("bias")
    if isinstance(bias, Node):
        site.unify(out, site.axes(bias)[0])
    space = site.new_axes()[-rank:]
    for axis in space:
        site.refuse(axis, _SLIDES)
    return (*x[: -rank - 1], out, *space)


def _relate_groups(site: Site, channels: Axis, weight: Axes, groups: int) -> bool:
    """Whole groups go together; a depthwise convolution has one channel in each."""
    try:
        group, inner = split_inner(channels, size(channels) // groups)
        site.unify(inner, weight[1])
        each = size(weight[0]) // groups
        site.unify(weight[0], product([group, Atom(each)]))
        if size(inner) > 1:
            site.use(Use.CONSUMED, inner)
            site.use(Use.PRODUCED, split_inner(weight[0], each)[1])
            site.use(Use.CONVOLVED, split_inner(weight[0], each)[1])
    except RefinementError as error:
        for axis in (channels, *weight):
            site.refuse(axis, f"its groups do not line up with the channels: {error}")
        return False
    return True


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
_TRANSPOSED = Rule(relate_transposed)
_WINDOW = Rule(relate_window)
_WINDOWS = (
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d",
    "upsample_linear1d",
)  # fmt: skip
RULES = {
    **{getattr(aten, f"conv{rank}d"): _CONVOLUTION for rank in (1, 2, 3)},
    aten.conv_transpose1d: _TRANSPOSED,
    aten.conv_transpose2d.input: _TRANSPOSED,
    **{getattr(aten, name): _WINDOW for name in _WINDOWS},
    aten.max_pool2d_with_indices: Rule(relate_window_with_indices),
}
