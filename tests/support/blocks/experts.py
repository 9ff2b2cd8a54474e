"""Mixtures of experts: a router chooses the best few for each token."""

from __future__ import annotations

import torch
from torch.fx import Node

from support.blocks.steps import activate
from support.builder import BATCH, TOKENS, Builder, aten

EXPERTS = 4
BEST = 2


def gathered(b: Builder, x: Node) -> Node:
    """Each token's own expert weights, chosen out of those of all."""
    flat = b.view(x, -1, b.width)
    shares, places = _route(b, flat)
    hidden = b.random.randint(3, 7)
    up = _choose(b, b.parameter("up", EXPERTS, hidden, b.width), places)
    down = _choose(b, b.parameter("down", EXPERTS, b.width, hidden), places)
    column = b.call(aten.unsqueeze.default, b.call(aten.unsqueeze.default, flat, 1), -1)
    h = activate(b, b.call(aten.matmul.default, up, column), hidden)
    y = b.call(aten.squeeze.dim, b.call(aten.matmul.default, down, h), -1)
    weighed = b.call(aten.mul.Tensor, y, b.call(aten.unsqueeze.default, shares, -1))
    total = b.call(aten.sum.dim_IntList, weighed, [1])
    return b.view(total, b.batch, b.tokens, b.width)


def _choose(b: Builder, weight: Node, places: Node) -> Node:
    """[expert, a, b] and [token, best] -> [token, best, a, b]."""
    if b.chance(0.7):
        return b.call(aten.index.Tensor, weight, [places])
    rows = b.call(aten.index_select.default, weight, 0, b.view(places, -1))
    return b.call(aten.unflatten.int, rows, 0, [-1, BEST])


def _route(b: Builder, flat: Node) -> tuple[Node, Node]:
    """Shares and places of the best experts of each token: [token, best]."""
    scores = b.call(aten.linear.default, flat, b.parameter("router", EXPERTS, b.width))
    form = b.pick("softmax", "late", "sigmoid", "bias")
    if form == "late":
        best = b.call(aten.topk.default, scores, BEST, -1)
        return b.call(aten.softmax.int, b.part(best, 0), -1), b.part(best, 1)
    if form == "softmax":
        scores = b.call(aten.softmax.int, scores, -1)
    else:
        scores = b.call(aten.sigmoid.default, scores)
    if form == "bias":
        ranked = b.call(aten.add.Tensor, scores, b.parameter("correction", EXPERTS))
        places = b.part(b.call(aten.topk.default, ranked, BEST, 1), 1)
        shares = b.call(aten.gather.default, scores, 1, places)
    else:
        best = b.call(aten.topk.default, scores, BEST)
        shares, places = b.part(best, 0), b.part(best, 1)
    if b.chance():
        total = b.call(aten.sum.dim_IntList, shares, [-1], True)
        shares = b.call(aten.div.Tensor, shares, b.call(aten.add.Tensor, total, 0.1))
    return shares, places


def dense(b: Builder, x: Node) -> Node:
    """All experts on all tokens, weighed by shares that are zero for those not chosen."""
    flat = b.view(x, -1, b.width)
    shares, places = _route(b, flat)
    spread = _spread(b, flat, shares, places)
    hidden = b.random.randint(3, 7)
    up = b.parameter("up", EXPERTS, b.width, hidden)
    down = b.parameter("down", EXPERTS, hidden, b.width)
    if b.chance():
        h = activate(b, b.call(aten.matmul.default, flat, up), hidden)
        y = b.call(aten.bmm.default, h, down)
        turned = b.call(aten.unsqueeze.default, b.call(aten.transpose.int, spread, 0, 1), -1)
        total = b.call(aten.sum.dim_IntList, b.call(aten.mul.Tensor, y, turned), [0])
    else:
        h = activate(b, b.call(aten.einsum.default, "nc,ech->neh", [flat, up]), hidden)
        h = b.call(aten.mul.Tensor, h, b.call(aten.unsqueeze.default, spread, 2))
        total = b.call(aten.einsum.default, "neh,ehc->nc", [h, down])
    return b.view(total, b.batch, b.tokens, b.width)


def _spread(b: Builder, flat: Node, shares: Node, places: Node) -> Node:
    """[token, expert]: the share of each expert, zero where it was not chosen."""
    if b.chance():
        ones = b.call(aten.one_hot.default, places, EXPERTS)
        number = b.call(aten.to.dtype, ones, torch.float64)
        weighed = b.call(aten.mul.Tensor, number, b.call(aten.unsqueeze.default, shares, -1))
        return b.call(aten.sum.dim_IntList, weighed, [1])
    count = b.call(aten.sym_size.int, flat, 0) if b.is_dynamic else BATCH * TOKENS
    empty = b.call(aten.zeros.default, [count, EXPERTS], dtype=torch.float64)
    op = b.pick(aten.scatter.src, aten.scatter_add.default)
    return b.call(op, empty, 1, places, shares)
