"""Scaled dot-product attention as one operator."""

from __future__ import annotations

import math

import torch

from prunec.passes.analysis.coupling.site import Axes, CutSite, Rule, Site, Use
from prunec.passes.ir.axes import Atom, product, size

aten = torch.ops.aten


def relate_attention(site: Site) -> Axes:
    """Q [batch, h, new, d], k [batch, h, all, d], v [batch, h, all, dv] -> [batch, h, new, dv].

    With ``enable_gqa`` the keys' heads are repeated to the queries': h = kv heads × repeat.
    """
    q, k, v = (site.axes(operand) for operand in site.node.args[:3])
    site.unify(k[1], v[1])
    heads = k[1]
    if site.node.kwargs.get("enable_gqa") and heads is not None and q[1] is not None:
        repeat = Atom(size(q[1]) // size(heads))
        site.use(Use.REPEATED, repeat)
        heads = product([heads, repeat])
    site.unify(q[1], heads)
    site.unify(q[-1], k[-1])
    mask = site.node.args[3] if len(site.node.args) > 3 else site.node.kwargs.get("attn_mask")
    if isinstance(mask, torch.fx.Node) and len(site.axes(mask)) == 4:
        head_mask = site.operand(mask)[1]
        if head_mask is not None and size(head_mask) > 1:
            site.unify(head_mask, q[1])
    site.use(Use.HEADS, q[1])
    site.use(Use.KEY_WIDTH, q[-1])
    site.use(Use.VALUE_WIDTH, v[-1])
    return (*q[:-1], v[-1])


def cut_attention(site: CutSite) -> None:
    """Hold the scale at that of the full width; it defaults to the width that is left."""
    width = site.axes(site.before.args[0])[-1]
    if width is not None and site.is_cut(width) and site.before.kwargs.get("scale") is None:
        site.node.update_kwarg("scale", 1.0 / math.sqrt(size(width)))


RULES = {aten.scaled_dot_product_attention: Rule(relate_attention, cut_attention)}
