"""Rotary position embeddings in the forms in which models write them."""

from __future__ import annotations

import torch
from torch.fx import Node

from support.builder import Builder, aten


def rotate(b: Builder, x: Node, heads: int, width: int, form: str) -> Node:
    """Turn the pairs of [batch, head, token, width] by angles that grow with the position."""
    if form == "partial":
        turned = b.call(aten.slice.Tensor, x, -1, 0, width // 2)
        rest = b.call(aten.slice.Tensor, x, -1, width // 2, 2**63 - 1)
        turned = _by_halves(b, turned, width // 2)
        return b.call(aten.cat.default, [turned, rest], -1)
    if form == "halves":
        return _by_halves(b, x, width)
    if form == "neighbours":
        return _by_neighbours(b, x, heads, width)
    return _by_numbers(b, x, heads, width)


def _angles(b: Builder, width: int) -> Node:
    """[token, width / 2], the same node for all that need the same."""
    key = ("angles", width)
    if key not in b.shared:
        frequencies = b.buffer("frequencies", torch.linspace(1.0, 0.1, width // 2).double())
        places = b.call(aten.arange.default, b.tokens, dtype=torch.float64)
        places = b.call(aten.unsqueeze.default, places, 1)
        b.shared[key] = b.call(aten.mul.Tensor, places, frequencies)
    return b.shared[key]


def _tables(b: Builder, width: int, form: str) -> tuple[Node, Node]:
    """Cosine and sine [token, width], each angle twice: the halves or neighbours share it."""
    key = ("tables", width, form)
    if key not in b.shared:
        angles = _angles(b, width)
        if form == "halves":
            both = b.call(aten.cat.default, [angles, angles], -1)
        else:
            both = b.call(aten.repeat_interleave.self_int, angles, 2, 1)
        if b.chance():
            both = b.call(aten.unsqueeze.default, b.call(aten.unsqueeze.default, both, 0), 0)
        b.shared[key] = (b.call(aten.cos.default, both), b.call(aten.sin.default, both))
    return b.shared[key]


def _turn(b: Builder, x: Node, turned: Node, tables: tuple[Node, Node]) -> Node:
    cosine, sine = tables
    left = b.call(aten.mul.Tensor, x, cosine)
    return b.call(aten.add.Tensor, left, b.call(aten.mul.Tensor, turned, sine))


def _by_halves(b: Builder, x: Node, width: int) -> Node:
    first = b.call(aten.slice.Tensor, x, -1, 0, width // 2)
    second = b.call(aten.slice.Tensor, x, -1, width // 2, 2**63 - 1)
    turned = b.call(aten.cat.default, [b.call(aten.neg.default, second), first], -1)
    return _turn(b, x, turned, _tables(b, width, "halves"))


def _by_neighbours(b: Builder, x: Node, heads: int, width: int) -> Node:
    even = b.call(aten.slice.Tensor, x, 3, 0, 2**63 - 1, 2)
    odd = b.call(aten.slice.Tensor, x, 3, 1, 2**63 - 1, 2)
    both = b.call(aten.stack.default, [b.call(aten.neg.default, odd), even], -1)
    turned = b.call(aten.flatten.using_ints, both, -2)
    return _turn(b, x, turned, _tables(b, width, "neighbours"))


def _by_numbers(b: Builder, x: Node, heads: int, width: int) -> Node:
    """Pairs as complex numbers."""
    shape = [b.batch, heads, b.tokens, width // 2, 2]
    pairs = b.call(aten.reshape.default, b.call(aten.contiguous.default, x), shape)
    number = b.call(aten.view_as_complex.default, pairs)
    angles = _angles(b, width)
    turn = b.call(aten.polar.default, b.call(aten.ones_like.default, angles), angles)
    real = b.call(aten.view_as_real.default, b.call(aten.mul.Tensor, number, turn))
    return b.call(aten.flatten.using_ints, real, 3)
