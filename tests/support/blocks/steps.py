"""Steps between two contractions: what happens to the last dimension of a stream on its way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import Node

from support.builder import Builder, aten

Step = Callable[[Builder, Node, int], Node]
"""From [..., width] to the same shape."""

# Continuous functions only: a jump at zero would turn rounding into a difference.
SMOOTH = (
    aten.abs, aten.neg, aten.exp2, aten.expm1, aten.square, aten.sin, aten.cos, aten.tanh,
    aten.atan, aten.erf, aten.sigmoid, aten.log_sigmoid, aten.relu, aten.relu6, aten.silu,
    aten.gelu, aten.hardtanh, aten.hardsigmoid, aten.hardswish, aten.leaky_relu, aten.elu,
    aten.celu, aten.selu, aten.softplus, aten.mish,
)  # fmt: skip


def activate(b: Builder, h: Node, _: int) -> Node:
    """Any activation."""
    return b.call(b.pick(*SMOOTH).default, h)


def bound(b: Builder, h: Node, _: int) -> Node:
    """Functions that are defined above zero, or that have limits."""
    form = b.pick("log", "rsqrt", "sqrt", "reciprocal", "clamp", "pow", "threshold", "exp", "tan")
    if form in ("clamp", "exp", "tan"):
        limited = b.call(aten.clamp.default, h, -1.0, 1.0)
        return limited if form == "clamp" else b.call(getattr(aten, form).default, limited)
    if form == "pow":
        return b.call(aten.pow.Tensor_Scalar, h, 2)
    if form == "threshold":
        return b.call(b.pick(aten.clamp_min, aten.clamp_max).default, h, 0.1)
    above = b.call(aten.add.Tensor, b.call(aten.mul.Tensor, h, h), 1.0)
    return b.call(getattr(aten, form).default, above)


def naked(b: Builder, h: Node, width: int) -> Node:
    """A parameter that no module wraps: scales and shifts."""
    shape = b.pick((width,), (1, width), (1, 1, width))
    own = b.parameter("naked", *shape, around=1.0)
    form = b.pick(
        "mul", "add", "sub", "div", "rsub", "maximum", "minimum", "lerp", "addcmul", "atan2"
    )
    if form == "lerp":
        return b.call(aten.lerp.Scalar, h, own, 0.3)
    if form == "addcmul":
        return b.call(aten.addcmul.default, h, h, own)
    if form in ("maximum", "minimum", "atan2"):
        return b.call(getattr(aten, form).default, h, own)
    return b.call(getattr(aten, form).Tensor, h, own)


def constant(b: Builder, h: Node, width: int) -> Node:
    """A table or a mask with no parameter behind it."""
    shape = b.pick((width,), (1, width), (1, 1, width))
    table = b.noise(*shape)
    form = b.pick("mul", "add", "masked_fill", "where", "ones", "shared")
    if form == "masked_fill":
        return b.call(aten.masked_fill.Scalar, h, b.buffer("mask", table > 0), 0.5)
    if form == "where":
        other = b.call(aten.tanh.default, h)
        return b.call(aten.where.self, b.buffer("mask", table > 0), h, other)
    if form == "ones":
        return b.call(aten.sub.Tensor, h, b.call(aten.ones_like.default, h))
    own = b.buffer("table", table)
    if form == "shared":
        both = b.call(aten.mul.Tensor, h, own)
        return b.call(aten.add.Tensor, both, b.call(aten.sin.default, own))
    return b.call(getattr(aten, form).Tensor, h, own)


def norm(b: Builder, h: Node, width: int) -> Node:
    """A norm over the width, as one operator or decomposed."""
    scale = b.parameter("norm", width, around=1.0) if b.chance(0.8) else None
    form = b.pick("rms_norm", "layer_norm", "rms", "layer")
    if form == "rms_norm":
        return b.call(aten.rms_norm.default, h, [width], scale, *b.pick((), (1e-3,)))
    if form == "layer_norm":
        shift = b.parameter("shift", width, around=0.2) if b.chance() else None
        return b.call(aten.layer_norm.default, h, [width], scale, shift, 1e-3)
    if form == "layer":
        h = b.call(aten.sub.Tensor, h, b.call(aten.mean.dim, h, [-1], True))
    power = b.call(aten.pow.Tensor_Scalar, h, 2)
    mean = b.call(aten.mean.dim, power, [-1], True)
    inverse = b.call(aten.rsqrt.default, b.call(aten.add.Tensor, mean, 1e-3))
    y = b.call(aten.mul.Tensor, h, inverse)
    return y if scale is None else b.call(aten.mul.Tensor, scale, y)


def normalise(b: Builder, h: Node, _: int) -> Node:
    """A softmax, or what is like it, over the width."""
    form = b.pick("softmax", "_softmax", "log_softmax")
    if form == "_softmax":
        return b.call(aten._softmax.default, h, -1, False)
    return b.call(getattr(aten, form).int, h, -1)


def reduce(b: Builder, h: Node, width: int) -> Node:
    """A statistic of the width, taken away from it or multiplied with it."""
    form = b.pick(
        "sum",
        "mean",
        "norm",
        "amax",
        "amin",
        "max",
        "min",
        "logsumexp",
        "all max",
        "all min",
        "all sum",
        "all mean",
        "any",
        "drop",
    )
    if form == "norm":
        order = b.pick(1, 2, 2, 3, float("inf"))
        found = b.call(aten.linalg_vector_norm.default, h, order, [-1], True)
    elif form in ("max", "min"):
        pair = b.call(getattr(aten, form).dim, h, -1, True)
        found = b.part(pair, 0)
    elif form.startswith("all "):
        found = b.call(getattr(aten, form[4:]).default, h)
    elif form == "any":
        seen = b.call(aten.any.dim, b.call(aten.gt.Scalar, h, 0.0), -1, True)
        found = b.call(aten.to.dtype, seen, torch.float64)
    elif form == "sum":
        found = b.call(aten.sum.dim_IntList, h, [-1], True)
    elif form == "drop":
        found = b.call(aten.unsqueeze.default, b.call(aten.mean.dim, h, [-1]), -1)
    elif form == "mean":
        found = b.call(aten.mean.dim, h, [2], True)
    else:
        found = b.call(getattr(aten, form).default, h, [-1], True)
    small = b.call(aten.tanh.default, found)
    return b.call(b.pick(aten.sub, aten.add, aten.mul).Tensor, h, small)


def copy(b: Builder, h: Node, _: int) -> Node:
    """Nothing, in the many ways in which exports write it."""
    form = b.pick(
        "clone", "contiguous", "dropout", "alias", "detach", "to", "_to_copy", "like", "second"
    )
    if form == "dropout":
        return b.call(aten.dropout.default, h, 0.1, False)
    if form == "to":
        return b.call(aten.to.dtype, h, torch.float64)
    if form == "_to_copy":
        return b.call(aten._to_copy.default, h, dtype=torch.float64)
    if form == "like":
        return b.call(aten.add.Tensor, h, b.call(aten.zeros_like.default, h))
    if form == "second":
        own = b.parameter("dtype", 7)
        return b.call(b.pick(aten.to.other, aten.type_as.default), h, own)
    return b.call(getattr(aten, form).default, h)


def in_place(b: Builder, h: Node, _: int) -> Node:
    """Operators that write to their operand."""
    own = b.call(aten.clone.default, h)
    form = b.pick("relu_", "silu_", "tanh_", "sigmoid_", "mul_", "add_")
    if form in ("mul_", "add_"):
        return b.call(getattr(aten, form).Tensor, own, h)
    return b.call(getattr(aten, form).default, own)


def rotate(b: Builder, h: Node, width: int) -> Node:
    """Halves of the width change place, by slices, chunks or a split."""
    half = width // 2
    if width % 2:
        return b.call(aten.silu.default, h)
    form = b.pick("slice", "chunk", "split", "open slice")
    if form == "chunk":
        halves = b.call(aten.chunk.default, h, 2, -1)
        first, second = (b.part(halves, i) for i in range(2))
    elif form == "split":
        halves = b.call(aten.split.Tensor, h, half, -1)
        first, second = (b.part(halves, i) for i in range(2))
    else:
        end = width if form == "slice" else 2**63 - 1
        first = b.call(aten.slice.Tensor, h, -1, 0, half)
        second = b.call(aten.slice.Tensor, h, -1, half, end)
    turned = b.call(aten.cat.default, [b.call(aten.neg.default, second), first], -1)
    return b.call(aten.add.Tensor, h, turned) if b.chance() else turned


def pair(b: Builder, h: Node, width: int) -> Node:
    """Neighbours of the width change place, by strides, views or complex numbers."""
    if width % 2:
        return b.call(aten.relu.default, h)
    shape = [b.batch, b.tokens, width // 2, 2]
    form = b.pick("stride", "unbind", "select", "complex")
    if form == "complex":
        pairs = b.call(aten.view.default, b.call(aten.contiguous.default, h), shape)
        number = b.call(aten.view_as_complex.default, pairs)
        angle = b.noise(width // 2)
        turn = b.buffer("turn", torch.polar(torch.ones_like(angle), angle))
        real = b.call(aten.view_as_real.default, b.call(aten.mul.Tensor, number, turn))
        return b.call(aten.flatten.using_ints, real, -2)
    if form == "stride":
        even = b.call(aten.slice.Tensor, h, -1, 0, 2**63 - 1, 2)
        odd = b.call(aten.slice.Tensor, h, -1, 1, 2**63 - 1, 2)
    else:
        pairs = b.call(aten.unflatten.int, h, -1, [width // 2, 2])
        if form == "unbind":
            parts = b.call(aten.unbind.int, pairs, -1)
            even, odd = (b.part(parts, i) for i in range(2))
        else:
            even, odd = (b.call(aten.select.int, pairs, -1, i) for i in b.pick((0, 1), (0, -1)))
    both = b.call(aten.stack.default, [b.call(aten.neg.default, odd), even], -1)
    return b.call(aten.reshape.default, both, [b.batch, b.tokens, width])


def gate_parts(b: Builder, h: Node, width: int) -> Node:
    """Uneven segments of the width, each with a step of its own, joined again."""
    if width < 3:
        return b.call(aten.gelu.default, h)
    first = b.random.randrange(1, width - 1)
    sizes = [first, width - first]
    if b.chance():
        parts = b.call(aten.split_with_sizes.default, h, sizes, -1)
        left, right = (b.part(parts, i) for i in range(2))
    else:
        left = b.call(aten.slice.Tensor, h, 2, 0, first)
        right = b.call(aten.slice.Tensor, h, 2, first - width)
    left = b.call(aten.silu.default, left)
    return b.call(b.pick(aten.cat, aten.concat).default, [left, right], -1)


def spread(b: Builder, h: Node, width: int) -> Node:
    """The width as groups, each with a scale of its own."""
    count = next((n for n in (2, 3) if width % n == 0 and width > n), 1)
    shape = [b.batch, b.tokens, count, width // count]
    groups = b.call(aten.view.default, b.call(aten.contiguous.default, h), shape)
    scale = b.parameter("groups", *b.pick((count, 1), (width // count,)), around=1.0)
    scaled = b.call(aten.mul.Tensor, groups, scale)
    return (
        b.call(aten.flatten.using_ints, scaled, 2)
        if b.chance()
        else b.call(aten.reshape.default, scaled, [b.batch, b.tokens, -1])
    )


def order(b: Builder, h: Node, width: int) -> Node:
    """Operators for which positions of the width have an order: they refuse it."""
    form = b.pick(
        "cumsum",
        "flip",
        "roll",
        "pad",
        "cummax",
        "sort",
        "triu",
        "unfold",
        "var",
        "std",
        "prod",
        "unknown",
        "argmax",
        "one position",
    )
    if form in ("cumsum",):
        return b.call(aten.cumsum.default, h, -1)
    if form == "flip":
        return b.call(aten.flip.default, h, [-1])
    if form == "roll":
        return b.call(aten.roll.default, h, [1], [-1])
    if form == "pad":
        padded = b.call(b.pick(aten.pad, aten.constant_pad_nd).default, h, [0, 1])
        return b.call(aten.slice.Tensor, padded, -1, 1)
    if form in ("cummax", "sort"):
        return b.part(b.call(getattr(aten, form).default, h, -1), 0)
    if form == "triu":
        return b.call(b.pick(aten.triu, aten.tril).default, h)
    if form == "unfold":
        windows = b.call(aten.unfold.default, h, -1, width, 1)
        return b.call(aten.squeeze.dim, windows, -2)
    if form in ("var", "std"):
        found = b.call(getattr(aten, form).correction, h, [-1], correction=0, keepdim=True)
    elif form == "prod":
        found = b.call(aten.prod.dim_int, h, -1, True)
    elif form == "argmax":
        place = b.call(aten.argmax.default, h, -1, True)
        found = b.call(aten.to.dtype, place, torch.float64)
    elif form == "one position":
        found = b.call(aten.slice.Tensor, h, -1, width - 1, width)
    else:
        return b.call(
            aten.erfinv.default, b.call(aten.mul.Tensor, b.call(aten.tanh.default, h), 0.5)
        )
    return b.call(aten.add.Tensor, h, b.call(aten.tanh.default, found))


STEPS: dict[str, Step] = {
    f.__name__: f
    for f in (
        activate, bound, naked, constant, norm, normalise, reduce, copy, in_place, rotate, pair,
        gate_parts, spread, order,
    )
}  # fmt: skip
_WEIGHTS = [0.3 if name == "order" else 1.0 for name in STEPS]


def some_steps(b: Builder, h: Node, width: int, most: int = 2) -> Node:
    """A few of the steps, one after another."""
    for name in b.random.choices(list(STEPS), _WEIGHTS, k=b.random.randint(0, most)):
        h = STEPS[name](b, h, width)
    return h
