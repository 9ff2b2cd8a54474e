"""Scaled dot-product attention as one operator."""

from __future__ import annotations

import math

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.gather import gather_operands
from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site, Use
from prunec.passes.ir.axes import Atom, product, size

aten = torch.ops.aten


def relate_attention(site: Site) -> Axes:
    """Q [batch, h, new, d], k [batch, h, all, d], v [batch, h, all, dv] -> [batch, h, new, dv].

    With ``enable_gqa`` the keys' heads are repeated to the queries': h = kv heads × repeat.
    """
    q, k, v = (site.axes(site.argument(name)) for name in ("query", "key", "value"))
    for a, b in zip(k[:-1], v[:-1], strict=True):
        site.unify(a, b)
    site.unify(q[-1], k[-1])
    site.use(Use.KEY_WIDTH, q[-1])
    site.use(Use.VALUE_WIDTH, v[-1])
    for dim in range(len(q) - 3):
        if size(k[dim]) == size(q[dim]):
            site.unify(q[dim], k[dim])
    if len(q) >= 3:
        _relate_heads(site, q, k)
    mask = site.argument("attn_mask")
    if isinstance(mask, Node):
        for axis, own in zip(reversed(q[:-2]), reversed(site.operand(mask)[:-2]), strict=False):
            if size(own) > 1:
                site.unify(own, axis)
    return (*q[:-1], v[-1])


def _relate_heads(site: Site, q: Axes, k: Axes) -> None:
    heads = k[-3]
    if site.argument("enable_gqa") and size(q[-3]) != size(heads):
        repeat = Atom(size(q[-3]) // size(heads))
        site.use(Use.REPEATED, repeat)
        heads = product([heads, repeat])
    if size(heads) == size(q[-3]):
        site.unify(q[-3], heads)
    site.use(Use.HEADS, q[-3])


def cut_attention(site: CutSite) -> None:
    """Hold the scale at that of the full width; it defaults to the width that is left."""
    width = site.axes(site.argument("query"))[-1]
    if site.is_cut(width) and site.argument("scale") is None:
        site.set_argument("scale", 1.0 / math.sqrt(size(width)))
    gather_operands(site)


RULES = {aten.scaled_dot_product_attention: Rule(relate_attention, cut_attention)}
