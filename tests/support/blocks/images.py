"""Blocks on an image [batch, channel, height, width]."""

from __future__ import annotations

from torch.fx import Node

from support.blocks.steps import SMOOTH, activate, norm
from support.builder import Builder, aten

SIDE = 4


def convolve(
    b: Builder, x: Node, inner: int, outer: int, role: str, kernel: int = 1, groups: int = 1
) -> Node:
    """A convolution that keeps the extent."""
    weight = b.parameter(role, outer, inner // groups, kernel, kernel)
    bias = b.parameter(f"{role}.bias", outer, around=0.2) if b.chance() else None
    pad = kernel // 2
    return b.call(aten.conv2d.default, x, weight, bias, [1, 1], [pad, pad], [1, 1], groups)


def scale_channels(b: Builder, x: Node, channels: int) -> Node:
    """A norm with fixed statistics, with groups, over channels last, or naked parameters."""
    form = b.pick("batch", "group", "last", "naked", "slopes", "none")
    if form == "none":
        return x
    if form == "naked":
        return b.call(aten.mul.Tensor, x, b.parameter("scale", channels, 1, 1, around=1.0))
    if form == "slopes":
        return b.call(aten.prelu.default, x, b.parameter("slopes", channels, around=0.3))
    if form == "last":
        last = b.call(aten.permute.default, x, [0, 2, 3, 1])
        return b.call(aten.permute.default, norm(b, last, channels), [0, 3, 1, 2])
    weight = bias = None
    if b.chance(0.8):
        weight, bias = (b.parameter(f"scale{i}", channels, around=1.0) for i in range(2))
    if form == "group":
        groups = next(n for n in (3, 2, 1) if channels % n == 0)
        return b.call(aten.group_norm.default, x, groups, weight, bias, 1e-3)
    mean = b.buffer("mean", 0.1 * b.noise(channels))
    variance = b.buffer("variance", 1.0 + 0.1 * b.noise(channels).abs())
    statistics = (weight, bias, mean, variance)
    return b.call(aten.batch_norm.default, x, *statistics, False, 0.1, 1e-3, False)


def bottleneck(b: Builder, x: Node) -> Node:
    """Channels go down, through a convolution in groups, and up again."""
    hidden = b.pick(4, 6, 8)
    groups = b.pick(1, 1, 2, hidden)
    h = activate(b, scale_channels(b, convolve(b, x, b.width, hidden, "down"), hidden), hidden)
    h = convolve(b, h, hidden, hidden, "inner", 3, groups)
    h = pool(b, activate(b, scale_channels(b, h, hidden), hidden), hidden)
    return convolve(b, h, hidden, b.width, "up")


def pool(b: Builder, x: Node, channels: int) -> Node:
    """What slides over the extent and keeps it."""
    form = b.pick(
        "none",
        "avg",
        "max",
        "max with indices",
        "nearest",
        "bilinear",
        "adaptive",
        "adaptive max",
        "exact",
        "pixels",
        "pixels down",
        "patches",
        "sampled",
        "turn",
    )
    window = ([3, 3], [1, 1], [1, 1])
    if form == "avg":
        return b.call(aten.avg_pool2d.default, x, *window)
    if form == "max":
        return b.call(aten.max_pool2d.default, x, *window)
    if form == "max with indices":
        return b.part(b.call(aten.max_pool2d_with_indices.default, x, *window), 0)
    if form == "adaptive":
        return b.call(aten.adaptive_avg_pool2d.default, x, [SIDE, SIDE])
    if form == "adaptive max":
        return b.part(b.call(aten.adaptive_max_pool2d.default, x, [SIDE, SIDE]), 0)
    if form in ("nearest", "bilinear", "exact"):
        small = b.call(aten.avg_pool2d.default, x, [2, 2])
        rest = (False,) if form == "bilinear" else ()
        name = "_upsample_nearest_exact2d" if form == "exact" else f"upsample_{form}2d"
        return b.call(getattr(aten, name).default, small, [SIDE, SIDE], *rest)
    if form == "pixels" and channels % 4 == 0:
        large = b.call(aten.pixel_shuffle.default, x, 2)
        return convolve(
            b, b.call(aten.avg_pool2d.default, large, [2, 2]), channels // 4, channels, "more"
        )
    if form == "turn":
        groups = b.pick(1, *[n for n in (2, 3, channels) if channels % n == 0])
        weight = b.parameter("turned", channels, channels // groups, 1, 1)
        rest = ([1, 1], [0, 0], [0, 0], groups)
        return b.call(aten.conv_transpose2d.input, x, weight, None, *rest)
    return move_pixels(b, x, channels, form)


def move_pixels(b: Builder, x: Node, channels: int, form: str) -> Node:
    """Pixels that become channels and come back, windows as columns, places chosen by value."""
    if form == "pixels down":
        down = b.call(aten.pixel_unshuffle.default, x, 2)
        if b.chance():
            return b.call(aten.pixel_shuffle.default, b.call(b.pick(*SMOOTH).default, down), 2)
        fewer = convolve(b, down, 4 * channels, channels, "fewer")
        return b.call(aten.upsample_nearest2d.default, fewer, [SIDE, SIDE])
    if form == "patches":
        window = ([2, 2], [1, 1], [0, 0], [2, 2])
        columns = b.call(b.pick(*SMOOTH).default, b.call(aten.im2col.default, x, *window))
        return b.call(aten.col2im.default, columns, [SIDE, SIDE], *window)
    if form == "sampled":
        places = b.call(aten.tanh.default, convolve(b, x, channels, 2, "places"))
        grid = b.call(aten.permute.default, places, [0, 2, 3, 1])
        return b.call(aten.grid_sampler.default, x, grid, 0, 0, False)
    return x


def excited(b: Builder, x: Node) -> Node:
    """Channels are scaled by what their means over the extent say."""
    hidden = b.random.randint(3, 6)
    mean = (
        b.call(aten.mean.dim, x, [2, 3], True)
        if b.chance()
        else b.call(aten.adaptive_avg_pool2d.default, x, [1, 1])
    )
    down = activate(b, convolve(b, mean, b.width, hidden, "down"), hidden)
    gate = b.call(aten.sigmoid.default, convolve(b, down, hidden, b.width, "up"))
    return b.call(aten.mul.Tensor, x, gate)


def separable(b: Builder, x: Node) -> Node:
    """A convolution of each channel alone, then a feed-forward over channels last."""
    h = convolve(b, x, b.width, b.width, "depthwise", 3, b.width)
    last = b.call(aten.permute.default, h, [0, 2, 3, 1])
    hidden = b.random.randint(4, 8)
    h = b.call(aten.linear.default, norm(b, last, b.width), b.parameter("up", hidden, b.width))
    h = b.call(b.pick(*SMOOTH).default, h)
    y = b.call(aten.linear.default, h, b.parameter("down", b.width, hidden))
    return b.call(aten.permute.default, y, [0, 3, 1, 2])


def grown(b: Builder, x: Node) -> Node:
    """New channels beside those that are there, as DenseNet has them."""
    more = b.random.randint(2, 4)
    h = b.call(aten.cat.default, [x, convolve(b, x, b.width, more, "more", 3)], 1)
    return convolve(b, activate(b, h, 0), b.width + more, b.width, "back")


def shuffled(b: Builder, x: Node) -> Node:
    """Groups of channels are dealt out over one another."""
    hidden = b.pick(4, 6)
    h = convolve(b, x, b.width, hidden, "in")
    h = convolve(b, h, hidden, hidden, "grouped", 1, 2)
    form = b.pick(None, aten.channel_shuffle, aten.native_channel_shuffle)
    if form is None or b.is_dynamic:  # torch fixes the sizes of what these operators take
        h = b.call(aten.view.default, h, [b.batch, 2, hidden // 2, SIDE, SIDE])
        h = b.call(aten.contiguous.default, b.call(aten.transpose.int, h, 1, 2))
        h = b.call(aten.view.default, h, [b.batch, -1, SIDE, SIDE])
    else:
        h = b.call(form.default, h, 2)
    h = convolve(b, h, hidden, hidden, "deal", 1, b.pick(1, 2))
    return convolve(b, h, hidden, b.width, "out")


def attended(b: Builder, x: Node) -> Node:
    """Positions of the image as tokens that look at one another."""
    heads, width = b.pick(1, 2), b.pick(3, 4)
    parts = [convolve(b, x, b.width, heads * width, role) for role in ("q", "k", "v")]
    shape = [b.batch, heads, width, SIDE * SIDE]
    q, k, v = (
        b.call(aten.transpose.int, b.call(aten.view.default, part, shape), 2, 3) for part in parts
    )
    y = b.call(aten.scaled_dot_product_attention.default, q, k, v)
    y = b.call(aten.contiguous.default, b.call(aten.transpose.int, y, 2, 3))
    y = b.call(aten.view.default, y, [b.batch, heads * width, SIDE, SIDE])
    return convolve(b, y, heads * width, b.width, "out")


def volume(b: Builder, x: Node) -> Node:
    """A convolution over three dimensions, one of them of size 1."""
    hidden = b.random.randint(2, 5)
    deep = b.call(aten.unsqueeze.default, x, 2)
    weight = b.parameter("deep", hidden, b.width, 1, 3, 3)
    y = b.call(aten.conv3d.default, deep, weight, None, [1, 1, 1], [0, 1, 1])
    return convolve(b, b.call(aten.squeeze.dim, y, 2), hidden, b.width, "out")
