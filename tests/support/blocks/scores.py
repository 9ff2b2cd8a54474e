"""From attention scores to weights: masks, biases, caps, sinks and the softmax."""

from __future__ import annotations

import torch
from torch.fx import Node

from prunec.passes.ir import Role
from support.blocks.heads import Heads
from support.builder import Builder, Size, aten


def weigh(b: Builder, scores: Node, heads: Heads, tokens: Size) -> Node:
    """Scores [batch, head, token, all tokens] to weights that sum to one."""
    root = heads.key_width**0.5
    scores = (
        b.call(aten.div.Tensor, scores, root)
        if b.chance()
        else b.call(aten.mul.Tensor, scores, 1 / root)
    )
    if b.chance(0.3):
        capped = b.call(aten.tanh.default, b.call(aten.div.Tensor, scores, 5.0))
        scores = b.call(aten.mul.Tensor, capped, 5.0)
    bias = find_bias(b, heads, tokens)
    if bias is not None:
        scores = b.call(aten.add.Tensor, scores, bias)
    if b.chance(0.2):
        return _with_sinks(b, scores, heads, tokens)
    return soften(b, scores)


def soften(b: Builder, scores: Node) -> Node:
    """A softmax over the last dimension, with or without a dropout that does nothing."""
    if b.chance():
        weights = b.call(aten.softmax.int, scores, -1)
    else:
        weights = b.call(aten._softmax.default, scores, -1, False)
    return b.call(aten.dropout.default, weights, 0.1, False) if b.chance(0.3) else weights


def _with_sinks(b: Builder, scores: Node, heads: Heads, tokens: Size) -> Node:
    """One more column that takes attention and gives nothing back."""
    sinks = b.call(aten.view.default, b.parameter("sinks", heads.count), [1, -1, 1, 1])
    sinks = b.call(aten.expand.default, sinks, [b.batch, -1, b.tokens, 1])
    weights = soften(b, b.call(aten.cat.default, [scores, sinks], -1))
    return b.call(aten.slice.Tensor, weights, -1, 0, tokens)


def find_bias(b: Builder, heads: Heads, tokens: Size) -> Node | None:
    """What is added to scores, broadcast to [batch, head, token, all tokens]; often nothing."""
    forms = ["none", "padding", "slopes", "head", "window"]
    if not b.is_dynamic:
        forms += ["causal", "table", "buckets"]
    form = b.pick(*forms)
    if form == "none":
        return None
    if form in ("causal", "table", "buckets"):
        assert isinstance(b.tokens, int)
        assert isinstance(tokens, int)
        return _fixed_bias(b, heads, (b.tokens, tokens), form)
    if form == "padding":
        return _padding(b, tokens)
    if form == "head":
        return b.parameter("head_bias", heads.count, 1, 1)
    places = b.call(aten.arange.default, tokens, dtype=torch.float64)
    if form == "slopes":
        return _slopes(b, heads, places)
    rows = b.call(aten.unsqueeze.default, b.call(aten.arange.default, b.tokens), 1)
    seen = b.call(aten.le.Tensor, b.call(aten.unsqueeze.default, places, 0), rows)
    return b.call(aten.where.ScalarOther, seen, b.buffer("zero", torch.zeros(()).double()), -5.0)


def _slopes(b: Builder, heads: Heads, places: Node) -> Node:
    """A slope for each head times the position, as ALiBi has them."""
    if b.chance():
        slopes = b.buffer("slopes", b.noise(heads.count, 1, 1))
    else:
        flat = b.parameter("slopes", heads.count, around=0.5)
        slopes = b.call(aten.unsqueeze.default, b.call(aten.unsqueeze.default, flat, 1), -1)
    return b.call(aten.mul.Tensor, slopes, places)


def _fixed_bias(b: Builder, heads: Heads, sizes: tuple[int, int], form: str) -> Node:
    if form == "causal":
        mask = torch.full(sizes, float("-inf"), dtype=torch.float64).triu(sizes[1] - sizes[0] + 1)
        return b.buffer("causal", mask.view(*b.pick((), (1,), (1, 1)), *sizes))
    if form == "table":
        return b.parameter("table", *b.pick((), (1,)), heads.count, *sizes)
    buckets = b.buffer("buckets", torch.arange(sizes[0] * sizes[1]).view(sizes) % 4)
    found = b.call(aten.embedding.default, b.parameter("relative", 4, heads.count), buckets)
    by_head = b.call(aten.permute.default, found, [2, 0, 1])
    return b.call(aten.unsqueeze.default, by_head, 0)


def _padding(b: Builder, tokens: Size) -> Node:
    """A number for each earlier token from an input: [batch, 1, 1, all tokens]."""
    is_total = tokens is not b.tokens
    if is_total not in b.shared:
        name = "attention_mask" if is_total else "token_mask"
        label = "total_sequence_length" if is_total else "sequence_length"
        sizes = ("batch_size", label) if b.is_dynamic else (b.batch, tokens)
        mask = b.add_input(name, Role.MASK, sizes, torch.int64)
        wide = b.call(aten.unsqueeze.default, b.call(aten.unsqueeze.default, mask, 1), 2)
        number = b.call(aten.to.dtype, wide, torch.float64)
        b.shared[is_total] = b.call(aten.mul.Tensor, number, -0.1)
    return b.shared[is_total]
