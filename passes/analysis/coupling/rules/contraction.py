"""Contractions: both sides of the summed dimension become one, and it is consumed."""

from __future__ import annotations

import torch

from prunec.passes.analysis.coupling.site import Axes, Rule, Site, Use
from prunec.passes.ir.axes import Axis, size

aten = torch.ops.aten


def relate_linear(site: Site) -> Axes:
    """X [..., in] · weight [out, in] (+ bias [out]) -> [..., out]."""
    x, weight = site.axes(site.node.args[0]), site.axes(site.node.args[1])
    consume(site, x[-1], weight[-1])
    produced = weight[0]
    if len(site.node.args) > 2:
        for axis in site.axes(site.node.args[2]):
            site.unify(produced, axis)
    site.use(Use.PRODUCED, produced)
    return (*x[:-1], produced)


def relate_matmul(site: Site) -> Axes:
    """A [..., n, k] · b [..., k, m] -> [..., n, m], leading dimensions broadcast."""
    a, b = (site.axes(operand) for operand in site.node.args[:2])
    if len(a) < 2 or len(b) < 2:
        return refuse_all(site, "a product with a vector has no rule yet")
    consume(site, a[-1], b[-2])
    result = list(site.new_axes())
    result[-2:] = [a[-2], b[-1]]
    for operand in (a, b):
        for offset, axis in enumerate(reversed(operand[:-2]), start=3):
            if axis is not None and site.shape()[-offset] == size(axis):
                site.unify(result[-offset], axis)
    return tuple(result)


def relate_embedding(site: Site) -> Axes:
    """Weight [rows, width], indices [...] -> [..., width]; data chooses the rows."""
    rows, width = site.axes(site.node.args[0])
    site.refuse(rows, "its rows are chosen by the input, so none can be removed")
    site.use(Use.PRODUCED, width)
    return (*site.axes(site.node.args[1]), width)


def consume(site: Site, a: Axis | None, b: Axis | None) -> None:
    """Unify both sides of a sum and note that it ends there."""
    site.unify(a, b)
    site.use(Use.CONSUMED, a)


def refuse_all(site: Site, reason: str) -> Axes:
    """Refuse every axis that reaches the node; its result starts anew, refused too."""
    result = site.new_axes()
    for operand in site.node.all_input_nodes:
        for axis in site.axes(operand):
            site.refuse(axis, reason)
    for axis in result:
        site.refuse(axis, reason)
    return result


RULES = {
    aten.linear: Rule(relate_linear),
    aten.matmul: Rule(relate_matmul),
    aten.bmm: Rule(relate_matmul),
    aten.embedding: Rule(relate_embedding),
}
