"""From attention scores to weights: masks, biases, caps and the softmax."""

from __future__ import annotations

import torch
from torch.fx import Node

from prunec.passes.ir import Role
from support.blocks.heads import Heads
from support.builder import PAST, TOKENS, Builder, Size, aten


def weigh(b: Builder, scores: Node, heads: Heads, tokens: Size) -> Node:
    """Scores [batch, head, token, all tokens] to weights that sum to one."""
    scale = heads.key_width**-0.5
    if b.chance():
        scores = b.call(aten.mul.Tensor, scores, scale)
    else:
        scores = b.call(aten.div.Tensor, scores, 1 / scale)
    if b.chance(0.3):
        capped = b.call(aten.tanh.default, b.call(aten.div.Tensor, scores, 5.0))
        scores = b.call(aten.mul.Tensor, capped, 5.0)
    bias = bias_of(b, heads, tokens)
    if bias is not None:
        scores = b.call(aten.add.Tensor, scores, bias)
    if b.chance(0.2):
        return _with_sinks(b, scores, heads, tokens)
    weights = b.call(b.pick(aten.softmax.int, aten._softmax.default), scores, -1, *_softmax_rest(b))
    return b.call(aten.dropout.default, weights, 0.0, False) if b.chance(0.3) else weights
