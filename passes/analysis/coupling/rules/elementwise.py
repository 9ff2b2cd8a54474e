"""Elementwise operators and casts: operands are aligned from the right and become one."""

from __future__ import annotations

import torch

from prunec.passes.analysis.coupling.gather import gather_operands
from prunec.passes.analysis.coupling.site import Axes, Rule, Site
from prunec.passes.ir.axes import Atom, Axis, size

aten = torch.ops.aten


def relate_elementwise(site: Site) -> Axes:
    """Unify the operands' dimensions; a size of 1 is broadcast and stays out of it."""
    shape = site.shape()
    result: list[Axis | None] = [None] * len(shape)
    for operand in site.node.all_input_nodes:
        axes = site.operand(operand)
        for dim, axis in zip(range(-1, -len(axes) - 1, -1), reversed(axes), strict=True):
            if size(axis) == 1 and shape[dim] != 1:
                continue
            known = result[dim]
            if known is None:
                result[dim] = axis
            else:
                site.unify(known, axis)
    return tuple(Atom(s) if a is None else a for s, a in zip(shape, result, strict=True))


def relate_first(site: Site) -> Axes:
    """Pass the first operand's axes on; others give a dtype or a place alone."""
    return site.axes(site.node.args[0])


# fmt: off
_SAME_SHAPE = (
    "abs", "neg", "exp", "exp2", "expm1", "log", "log1p", "log2", "sqrt", "rsqrt", "reciprocal",
    "pow", "square", "sin", "cos", "tan", "tanh", "atan", "erf", "sigmoid", "log_sigmoid", "relu",
    "relu6", "silu", "gelu", "hardtanh", "hardsigmoid", "hardswish", "leaky_relu", "elu", "celu",
    "selu", "softplus", "mish", "threshold", "clamp", "clamp_min", "clamp_max", "floor", "ceil",
    "round", "trunc", "frac", "sign", "add", "sub", "rsub", "mul", "div", "floor_divide",
    "remainder", "fmod", "atan2", "maximum", "minimum", "where", "masked_fill", "eq", "ne", "lt",
    "le", "gt", "ge", "logical_not", "logical_and", "logical_or", "logical_xor", "bitwise_not",
    "bitwise_and", "bitwise_or", "bitwise_xor", "__and__", "__or__", "__xor__", "isnan", "isinf",
    "isfinite", "nan_to_num", "polar", "complex", "real", "imag", "conj", "lerp", "addcmul",
    "addcdiv", "zeros_like", "ones_like", "full_like", "empty_like", "isin", "bitwise_right_shift",
    "bitwise_left_shift", "asin", "acos", "sinh", "cosh", "asinh", "acosh", "atanh", "erfc",
    "erfinv", "sinc", "log10", "logit", "softshrink", "hardshrink", "rrelu", "logaddexp", "hypot",
    "xlogy", "copysign", "fmax", "fmin", "angle", "heaviside",
)
_SAME_VALUE = (
    "clone", "contiguous", "detach", "detach_", "alias", "dropout", "to", "_to_copy", "type_as",
    "lift_fresh_copy", "lift_fresh", "positive",
)
_IN_PLACE = (
    "add_", "sub_", "mul_", "div_", "relu_", "clamp_", "clamp_min_", "masked_fill_", "copy_",
    "fill_", "neg_", "exp_", "sigmoid_", "silu_", "tanh_", "zero_",
)
# fmt: on

_RULE = Rule(relate_elementwise, gather_operands)
_PASS = Rule(relate_elementwise, keeps_positions=True)
RULES = {
    **{getattr(aten, name): _RULE for name in _SAME_SHAPE},
    **{getattr(aten, name): _PASS for name in _SAME_VALUE},
    **{getattr(aten, name): _RULE for name in _IN_PLACE},
    **dict.fromkeys((aten.max.other, aten.min.other, aten.multiply), _RULE),
    aten.to.other: Rule(relate_first, keeps_positions=True),
    aten.type_as.default: Rule(relate_first, keeps_positions=True),
}
