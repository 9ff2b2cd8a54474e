"""Contractions of a stream with a weight, in every form in which exports write them."""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import Node

from support.builder import Builder, aten

Project = Callable[[Builder, Node, Node, Node | None], Node]


def project(b: Builder, x: Node, inner: int, outer: int, role: str) -> Node:
    """X [batch, token, inner] -> [batch, token, outer], in a form that is drawn."""
    bias = b.parameter(f"{role}.bias", outer, around=0.2) if b.chance() else None
    if b.chance(0.4):
        return b.call(aten.linear.default, x, b.parameter(role, outer, inner), bias)
    return (
        _flat(b, x, inner, outer, role, bias)
        if b.chance()
        else _batched(b, x, inner, outer, role, bias)
    )


def _flat(b: Builder, x: Node, inner: int, outer: int, role: str, bias: Node | None) -> Node:
    """Tokens of all rows in one dimension meanwhile, as GPT-2's Conv1D has them."""
    flat = b.view(x, -1, inner)
    if b.chance():
        weight = b.parameter(role, inner, outer)
    else:
        turn = b.pick(aten.t.default, aten.numpy_T.default)
        weight = b.call(turn, b.parameter(role, outer, inner))
    if bias is not None:
        y = b.call(aten.addmm.default, bias, flat, weight)
    else:
        y = b.call(aten.mm.default, flat, weight)
    return b.view(y, b.batch, b.tokens, outer)


def _batched(b: Builder, x: Node, inner: int, outer: int, role: str, bias: Node | None) -> Node:
    form = b.pick("matmul", "swapped", "einsum", "bmm")
    if form == "einsum":
        weight = b.parameter(role, outer, inner)
        y = b.call(aten.einsum.default, "bti,oi->bto", [x, weight])
    elif form == "swapped":
        weight = b.parameter(role, outer, inner)
        y = b.call(aten.matmul.default, x, b.call(aten.transpose.int, weight, -1, -2))
    elif form == "matmul":
        y = b.call(aten.matmul.default, x, b.parameter(role, inner, outer))
    else:
        weight = b.call(aten.unsqueeze.default, b.parameter(role, inner, outer), 0)
        each = b.call(aten.expand.default, weight, [b.batch, inner, outer])
        if bias is not None:
            return b.call(aten.baddbmm.default, bias, x, each)
        return b.call(aten.bmm.default, x, each)
    return y if bias is None else b.call(aten.add.Tensor, y, bias)
