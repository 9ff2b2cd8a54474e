"""Operators that trade channels for an image's extent, or sample an image: channels pass."""

from __future__ import annotations

import math

import torch

from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site
from prunec.passes.ir.axes import Atom, product, size, split_inner

aten = torch.ops.aten
_EXTENT = "it becomes part of an image's extent"
_PATCHES = "it counts the places of a window"
_SAMPLED = "places of the image are sampled by value"


def relate_pixel_shuffle(site: Site) -> Axes:
    """Channels × r × r become space: the channels that remain are an outer part."""
    *leading, channels, height, width = site.axes(site.node.args[0])
    factor = site.argument("upscale_factor")
    outer, inner = split_inner(channels, factor * factor)
    new = site.new_axes()
    for axis in (inner, height, width, *new[-2:]):
        site.refuse(axis, _EXTENT)
    return (*leading, outer, *new[-2:])


def relate_pixel_unshuffle(site: Site) -> Axes:
    """Space becomes channels × r × r."""
    *leading, channels, height, width = site.axes(site.node.args[0])
    inner = Atom(site.argument("downscale_factor") ** 2)
    new = site.new_axes()
    for axis in (inner, height, width, *new[-2:]):
        site.refuse(axis, _EXTENT)
    return (*leading, product([channels, inner]), *new[-2:])


def relate_channel_shuffle(site: Site) -> Axes:
    """Channels as groups × the rest become the rest × groups."""
    batch, channels, *space = site.axes(site.node.args[0])
    groups, rest = split_inner(channels, size(channels) // site.argument("groups"))
    return (batch, product([rest, groups]), *space)


def cut_channel_shuffle(site: CutSite) -> None:
    """Count the groups that stay."""
    channels = site.axes(site.before.args[0])[1]
    groups, _ = split_inner(channels, size(channels) // site.argument("groups"))
    site.set_argument("groups", site.kept_size(groups))


def relate_patches(site: Site) -> Axes:
    """[..., channel, height, width] -> [..., channel × window, place]: each window as a column."""
    *leading, channels, height, width = site.axes(site.node.args[0])
    window, place = Atom(math.prod(site.argument("kernel_size"))), site.new_axes()[-1]
    for axis in (window, height, width, place):
        site.refuse(axis, _PATCHES)
    return (*leading, product([channels, window]), place)


def relate_sum_of_patches(site: Site) -> Axes:
    """[..., channel × window, place] -> [..., channel, height, width]: columns are added up."""
    *leading, columns, place = site.axes(site.node.args[0])
    channels, window = split_inner(columns, math.prod(site.argument("kernel_size")))
    space = site.new_axes()[-2:]
    for axis in (window, place, *space):
        site.refuse(axis, _PATCHES)
    return (*leading, channels, *space)


def relate_sample(site: Site) -> Axes:
    """Image [batch, channel, *space] at a grid of places [batch, *new space, rank]."""
    batch, channels, *space = site.axes(site.argument("input"))
    own_batch, *grid = site.axes(site.argument("grid"))
    site.unify(batch, own_batch)
    new = site.new_axes()[2:]
    for axis in (*space, *grid, *new):
        site.refuse(axis, _SAMPLED)
    return (batch, channels, *new)


RULES = {
    aten.pixel_shuffle: Rule(relate_pixel_shuffle),
    aten.pixel_unshuffle: Rule(relate_pixel_unshuffle),
    aten.channel_shuffle: Rule(relate_channel_shuffle, cut_channel_shuffle),
    aten.native_channel_shuffle: Rule(relate_channel_shuffle, cut_channel_shuffle),
    aten.im2col: Rule(relate_patches),
    aten.col2im: Rule(relate_sum_of_patches),
    aten.grid_sampler: Rule(relate_sample),
    aten.grid_sampler_2d: Rule(relate_sample),
    aten.grid_sampler_3d: Rule(relate_sample),
}
