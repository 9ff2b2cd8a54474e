"""Norms as one operator. Statistics over a cut axis stay those of the masked original."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site
from prunec.passes.ir.axes import Axis, RefinementError, product, size, split_inner

aten = torch.ops.aten


def relate_layer_norm(site: Site) -> Axes:
    """Normalise over the last dimensions; weight and bias have their shape."""
    axes = site.axes(site.argument("input"))
    for parameter in site.node.all_input_nodes[1:]:
        for axis, own in zip(reversed(axes), reversed(site.axes(parameter)), strict=False):
            site.unify(axis, own)
    return axes


def _normalised(site: CutSite) -> tuple[Axis, ...]:
    axes = site.axes(site.argument("input"))
    return axes[len(axes) - len(site.argument("normalized_shape")) :]


def _totals(site: CutSite) -> tuple[int, int]:
    """How many positions the statistics ran over, and how many are left."""
    axes = _normalised(site)
    return math.prod(size(a) for a in axes), math.prod(site.kept_size(a) for a in axes)


def cut_rms_norm(site: CutSite) -> None:
    """With c = kept / total: the mean of squares is c times that of what is left."""
    total, left = _totals(site)
    if left == total:
        return
    share = left / total
    epsilon = site.argument("eps")
    if epsilon is None:
        epsilon = torch.finfo(site.before.meta["val"].dtype).eps
    site.set_argument("normalized_shape", [site.kept_size(a) for a in _normalised(site)])
    site.set_argument("eps", epsilon / share)
    site.scale_result(1 / math.sqrt(share))


def cut_layer_norm(site: CutSite) -> None:
    """Spell the norm out: removed units are zeros that still count in mean and variance.

    With N the full width, mean = sum(x) / N and variance = sum(x²) / N - mean²: both are the
    masked original's, and still are after another cut.
    """
    total, left = _totals(site)
    if left == total:
        return
    x = site.node.all_input_nodes[0]
    dims = list(range(-len(_normalised(site)), 0))
    wide = torch.promote_types(site.before.meta["val"].dtype, torch.float32)
    x_wide = site.call(aten.to.dtype, x, wide)
    mean = site.call(aten.div.Tensor, site.call(aten.sum.dim_IntList, x_wide, dims, True), total)
    squares = site.call(aten.mul.Tensor, x_wide, x_wide)
    power = site.call(aten.div.Tensor, site.call(aten.sum.dim_IntList, squares, dims, True), total)
    spread = site.call(aten.sub.Tensor, power, site.call(aten.mul.Tensor, mean, mean))
    safe = site.call(
        aten.add.Tensor, site.call(aten.clamp_min.default, spread, 0.0), site.argument("eps")
    )
    centred = site.call(aten.sub.Tensor, x_wide, mean)
    result = site.call(aten.mul.Tensor, centred, site.call(aten.rsqrt.default, safe))
    weight, bias = (_copied(site, name) for name in ("weight", "bias"))
    result = site.call(aten.to.other, result, x)
    if weight is not None:
        result = site.call(aten.mul.Tensor, result, weight)
    if bias is not None:
        result = site.call(aten.add.Tensor, result, bias)
    site.replace_with(result)


def _copied(site: CutSite, name: str) -> Any:
    """The copied node of an argument that is a tensor."""
    original = site.argument(name)
    places = zip(site.before.all_input_nodes, site.node.all_input_nodes, strict=True)
    return next((copied for before, copied in places if before is original), None)


def relate_group_norm(site: Site) -> Axes:
    """Normalise over groups of channels: whole groups may go, channels of a group may not."""
    axes = site.axes(site.argument("input"))
    try:
        groups, inner = split_inner(axes[1], size(axes[1]) // site.argument("num_groups"))
    except RefinementError as error:
        return site.refuse_all(f"its groups do not line up with the channels: {error}")
    site.refuse(inner, "a group norm takes its mean over it")
    channels = product([groups, inner])
    for name in ("weight", "bias"):
        if isinstance(site.argument(name), Node):
            site.unify(channels, site.axes(site.argument(name))[0])
    return axes


def cut_group_norm(site: CutSite) -> None:
    """Count the groups that stay."""
    channels = site.axes(site.argument("input"))[1]
    groups = site.argument("num_groups")
    site.set_argument("num_groups", site.kept_size(channels) * groups // size(channels))


def relate_batch_norm(site: Site) -> Axes:
    """Per channel with fixed statistics: all of its tensors share the channels."""
    axes = site.axes(site.argument("input"))
    if site.argument("training"):
        site.refuse(axes[1], "its statistics are taken from the batch: export in eval mode")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(site.argument(name), Node):
            site.unify(axes[1], site.axes(site.argument(name))[0])
    return axes


def relate_instance_norm(site: Site) -> Axes:
    """Per channel and image: statistics run over space, all of its tensors share the channels."""
    axes = site.axes(site.argument("input"))
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(site.argument(name), Node):
            site.unify(axes[1], site.axes(site.argument(name))[0])
    return axes


def relate_weight_norm(site: Site) -> Axes:
    """Scale the vectors of a weight to lengths of their own: it is whole along each vector."""
    axes, lengths = site.axes(site.argument("v")), site.axes(site.argument("g"))
    own = site.argument("dim") % len(axes)
    for dim, axis in enumerate(axes):
        if dim == own:
            site.unify(axis, lengths[dim])
        else:
            site.refuse(axis, "a weight norm takes the length along it")
    return axes


def relate_prelu(site: Site) -> Axes:
    """A slope for each channel, or one for all."""
    axes = site.axes(site.argument("self"))
    (slopes,) = site.axes(site.argument("weight"))
    if size(slopes) > 1:
        site.unify(axes[1] if len(axes) > 1 else axes[0], slopes)
    return axes


RULES = {
    aten.layer_norm: Rule(relate_layer_norm, cut_layer_norm),
    aten.rms_norm: Rule(relate_layer_norm, cut_rms_norm),
    aten.group_norm: Rule(relate_group_norm, cut_group_norm),
    aten.batch_norm: Rule(relate_batch_norm),
    aten.instance_norm: Rule(relate_instance_norm),
    aten._weight_norm: Rule(relate_weight_norm),
    aten.prelu: Rule(relate_prelu),
}
