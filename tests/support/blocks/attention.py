"""Attention with the choices that models differ in, drawn one by one."""

from __future__ import annotations

import operator

import torch
from torch.fx import Node

from prunec.passes.ir import Role
from support.blocks.heads import Heads, merge_heads, project_heads
from support.blocks.projecting import project
from support.blocks.rotary import rotate
from support.blocks.scores import find_bias, soften, weigh
from support.builder import PAST, TOKENS, Builder, Size, aten


def plain(b: Builder, x: Node) -> Node:
    """As many keys as queries."""
    return _attention(b, x, b.pick(1, 2, 3), 1)


def grouped(b: Builder, x: Node) -> Node:
    """Several queries for each key."""
    return _attention(b, x, b.pick(1, 2, 3), b.pick(2, 3))


def _attention(b: Builder, x: Node, groups: int, repeats: int) -> Node:
    """Queries, keys and values of one stream, with or without positions, norms and a cache."""
    key_width = b.pick(4, 6, 8)
    value_width = b.pick(3, 5, key_width, key_width)
    heads = Heads(groups, repeats, key_width, value_width)
    q, k, v = project_heads(b, x, heads)
    form = b.pick("none", "none", "rms", "layer", "each", "length")
    if form != "none":
        q = _norm(b, q, heads.count, key_width, form)
        k = _norm(b, k, heads.groups, key_width, form)
    form = b.pick("none", "halves", "neighbours", "numbers", "partial")
    if form != "none" and not (form == "partial" and key_width % 4):
        q, k = (rotate(b, n, c, key_width, form) for n, c in ((q, heads.count), (k, heads.groups)))
    tokens = b.tokens
    if b.chance():
        k, v = _cached(b, k, "key", key_width, heads), _cached(b, v, "value", value_width, heads)
        tokens = b.call(aten.sym_size.int, k, 2) if b.is_dynamic else PAST + TOKENS
    return merge_heads(b, _attend(b, q, k, v, heads, tokens), heads)


def _norm(b: Builder, x: Node, count: int, width: int, form: str) -> Node:
    """A norm over the head width; its weight is shared by all heads, or each has its own."""
    if form == "length":
        length = b.call(aten.linalg_vector_norm.default, x, 2, [-1], True)
        return b.call(aten.div.Tensor, x, b.call(aten.add.Tensor, length, 0.1))
    if form == "each":
        return b.call(aten.mul.Tensor, x, b.parameter("norm", count, 1, width, around=1.0))
    scale = b.parameter("norm", width, around=1.0)
    if form == "rms":
        return b.call(aten.rms_norm.default, x, [width], scale, 1e-3)
    return b.call(aten.layer_norm.default, x, [width], scale)


def _cached(b: Builder, new: Node, role: str, width: int, heads: Heads) -> Node:
    """Earlier tokens in front of the new ones; all of them go out again."""
    past: tuple[int | str, ...] = (2, heads.groups, PAST, width)
    total: tuple[int | str, ...] = (2, heads.groups, PAST + TOKENS, width)
    if b.is_dynamic:
        past = ("batch_size", heads.groups, "past_sequence_length", width)
        total = ("batch_size", heads.groups, "total_sequence_length", width)
    place = len(b.inputs)
    earlier = b.add_input(f"past.{place}.{role}", Role.CACHE, past, torch.float64)
    both = b.call(aten.cat.default, [earlier, new], b.pick(2, -2))
    b.add_output(f"present.{place}.{role}", both, Role.CACHE, total)
    return both


def _attend(b: Builder, q: Node, k: Node, v: Node, heads: Heads, tokens: Size) -> Node:
    """[batch, head, token, value width]."""
    form = b.pick("fused", "fused", "eager", "eager", "flat", "grouped")
    if form == "grouped":
        return _grouped(b, q, k, v, heads)
    if form == "fused" and heads.repeats > 1 and b.chance(0.4):
        return _scaled_dot_product(b, q, k, v, heads, tokens, enable_gqa=True)
    if heads.repeats > 1:
        k = _repeat(b, k, heads, tokens, heads.key_width)
        v = _repeat(b, v, heads, tokens, heads.value_width)
    if form == "fused":
        return _scaled_dot_product(b, q, k, v, heads, tokens, enable_gqa=False)
    if form == "flat":
        return _flat(b, q, k, v, heads, tokens)
    if b.chance():
        scores = b.call(aten.matmul.default, q, _turned(b, k))
    else:
        scores = b.call(aten.einsum.default, "bhtd,bhsd->bhts", [q, k])
    return b.call(aten.matmul.default, weigh(b, scores, heads, tokens), v)


def _turned(b: Builder, k: Node) -> Node:
    """Swap the last two dimensions."""
    if b.chance(0.3):
        return b.call(aten.mT.default, k)
    return b.call(aten.transpose.int, k, -1, -2)


def _repeat(b: Builder, x: Node, heads: Heads, tokens: Size, width: int) -> Node:
    """Keys or values of each group for each of its query heads."""
    if b.chance(0.4):
        return b.call(aten.repeat_interleave.self_int, x, heads.repeats, 1)
    wide = b.call(aten.unsqueeze.default, x, 2)
    shape = [b.batch, heads.groups, heads.repeats, tokens, width]
    wide = b.call(aten.expand.default, wide, shape)
    form = b.pick("reshape", "flatten")
    if form == "flatten":
        return b.call(aten.flatten.using_ints, wide, 1, 2)
    return b.call(aten.reshape.default, wide, [b.batch, heads.count, tokens, width])


def _scaled_dot_product(
    b: Builder, q: Node, k: Node, v: Node, heads: Heads, tokens: Size, *, enable_gqa: bool
) -> Node:
    mask = find_bias(b, heads, tokens)
    is_causal = mask is None and tokens is b.tokens and b.chance()
    options = {"enable_gqa": True} if enable_gqa else {}
    if b.chance():
        options["scale"] = 0.4
    op = aten.scaled_dot_product_attention.default
    return b.call(op, q, k, v, mask, 0.0, is_causal, **options)


def _grouped(b: Builder, q: Node, k: Node, v: Node, heads: Heads) -> Node:
    """Query heads of a group in a dimension of their own, keys broadcast over it."""
    q = b.call(aten.unflatten.int, q, 1, [heads.groups, heads.repeats])
    k, v = (b.call(aten.unsqueeze.default, node, 2) for node in (k, v))
    scores = b.call(aten.mul.Tensor, b.call(aten.matmul.default, q, _turned(b, k)), 0.5)
    y = b.call(aten.matmul.default, soften(b, scores), v)
    return b.call(aten.flatten.using_ints, y, 1, 2)


def _flat(b: Builder, q: Node, k: Node, v: Node, heads: Heads, tokens: Size) -> Node:
    """Batch and heads in one dimension meanwhile."""
    count = heads.count
    both = b.call(operator.mul, b.batch, count) if b.is_dynamic else b.batch * count
    q = b.call(aten.reshape.default, q, [b.pick(both, -1), b.tokens, heads.key_width])
    k = b.call(aten.reshape.default, k, [both, tokens, heads.key_width])
    v = b.call(aten.flatten.using_ints, v, 0, 1)
    scores = b.call(aten.bmm.default, q, _turned(b, k))
    scores = b.call(aten.view.default, scores, [b.batch, count, b.tokens, tokens])
    weights = weigh(b, scores, heads, tokens)
    weights = b.call(aten.reshape.default, weights, [both, b.tokens, tokens])
    y = b.call(aten.bmm.default, weights, v)
    return b.call(aten.view.default, y, [b.batch, count, b.tokens, heads.value_width])


def compressed(b: Builder, x: Node) -> Node:
    """Keys and values of all heads from one narrow latent, with one rotated key for all heads."""
    count, plain, rotary, value = b.pick(2, 3), b.pick(3, 4), b.pick(2, 4), b.pick(3, 5)
    heads = Heads(count, 1, plain + rotary, value)
    rank = b.pick(5, 6)
    down = project(b, x, b.width, rank + rotary, "kv_down")
    parts = b.call(aten.split_with_sizes.default, down, [rank, rotary], -1)
    scale = b.parameter("kv_norm", rank, around=1.0)
    small = b.call(aten.rms_norm.default, b.part(parts, 0), [rank], scale, 1e-3)
    up = project(b, small, rank, count * (plain + value), "kv_up")
    up = b.call(aten.view.default, up, [b.batch, b.tokens, count, plain + value])
    up = b.call(aten.transpose.int, up, 1, 2)
    split = b.call(aten.split_with_sizes.default, up, [plain, value], -1)
    shared = b.call(aten.view.default, b.part(parts, 1), [b.batch, 1, b.tokens, rotary])
    shared = rotate(b, shared, 1, rotary, "neighbours")
    shared = b.call(aten.expand.default, shared, [-1, count, -1, -1])
    k = b.call(aten.cat.default, [b.part(split, 0), shared], -1)
    q = _latent_queries(b, x, heads, plain)
    y = _scaled_dot_product(b, q, k, b.part(split, 1), heads, b.tokens, enable_gqa=False)
    return merge_heads(b, y, heads)


def _latent_queries(b: Builder, x: Node, heads: Heads, plain: int) -> Node:
    inner = b.width
    if b.chance():
        inner = 7
        x = project(b, x, b.width, inner, "q_down")
    rotary = heads.key_width - plain
    q = project(b, x, inner, heads.count * heads.key_width, "q_up")
    q = b.call(aten.view.default, q, [b.batch, b.tokens, heads.count, heads.key_width])
    q = b.call(aten.transpose.int, q, 1, 2)
    parts = b.call(aten.split_with_sizes.default, q, [plain, rotary], -1)
    turned = rotate(b, b.part(parts, 1), heads.count, rotary, "neighbours")
    return b.call(aten.cat.default, [b.part(parts, 0), turned], -1)
