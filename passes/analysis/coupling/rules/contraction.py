"""Contractions: both sides of the summed dimension become one, and it is consumed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.gather import gather_operands
from prunec.passes.analysis.coupling.site import Axes, Rule, Site, Use
from prunec.passes.ir.axes import Atom, Axis, leaves, size

aten = torch.ops.aten


def relate_linear(site: Site) -> Axes:
    """X [..., in] · weight [out, in] (+ bias [out]) -> [..., out]."""
    x, weight = site.axes(site.argument("input")), site.axes(site.argument("weight"))
    consume(site, x[-1], weight[-1])
    site.use(Use.PRODUCED, weight[0])
    return _add_bias(site, (*x[:-1], weight[0]), site.argument("bias"))


def relate_addmm(site: Site) -> Axes:
    """Bias + a [n, k] · b [k, m] -> [n, m]."""
    a, b = site.axes(site.argument("mat1")), site.axes(site.argument("mat2"))
    consume(site, a[-1], b[0])
    site.use(Use.PRODUCED, b[1])
    return _add_bias(site, (a[0], b[1]), site.argument("self"))


def relate_baddbmm(site: Site) -> Axes:
    """Bias + a [batch, n, k] · b [batch, k, m], a product for each of a batch."""
    result = _matmul(site, site.argument("batch1"), site.argument("batch2"))
    return _add_bias(site, result, site.argument("self"))


def relate_matmul(site: Site) -> Axes:
    """A [..., n, k] · b [..., k, m] -> [..., n, m], leading dimensions broadcast."""
    return _matmul(site, *site.node.args[:2])


def _matmul(site: Site, left: object, right: object) -> Axes:
    a, b = site.axes(left), site.axes(right)
    if len(b) == 1:
        consume(site, a[-1], b[0])
        return a[:-1]
    if len(a) == 1:
        consume(site, a[0], b[-2])
        return (*b[:-2], b[-1])
    batch: list[Axis | None] = [None] * (max(len(a), len(b)) - 2)
    for operand in (a, b):
        for offset, axis in enumerate(reversed(operand[:-2]), start=1):
            known = batch[-offset]
            if known is None or size(known) == 1:
                batch[-offset] = axis
            elif size(axis) != 1:
                site.unify(known, axis)
    leading = tuple(Atom(1) if axis is None else axis for axis in batch)
    contract(site, (a[-1], b[-2]), leading, (a[-2], b[-1]))
    return (*leading, a[-2], b[-1])


def relate_einsum(site: Site) -> Axes:
    """Any contraction in index notation."""
    equation = str(site.argument("equation")).replace(" ", "")
    operands = [site.axes(o) for o in site.argument("tensors")]
    if "->" not in equation or "." in equation:
        return site.refuse_all("its index notation leaves dimensions unnamed")
    inputs, output = equation.split("->")
    by_letter: dict[str, list[Axis]] = defaultdict(list)
    for letters, axes in zip(inputs.split(","), operands, strict=True):
        for letter, axis in zip(letters, axes, strict=True):
            by_letter[letter].append(axis)
    for found in by_letter.values():
        for axis in found[1:]:
            site.unify(found[0], axis)
    batch = [by_letter[c][0] for c in output if all(c in i for i in inputs.split(","))]
    free = [
        next((by_letter[c][0] for c in reversed(output) if c in i), Atom(1))
        for i in inputs.split(",")
    ]
    for letter, found in by_letter.items():
        if letter not in output:
            contract(site, (found[0], found[-1]), batch, (free[0], free[-1]))
    return tuple(by_letter[letter][0] for letter in output)


def contract(
    site: Site, summed: tuple[Axis, Axis], batch: Sequence[Axis], free: tuple[Axis, Axis]
) -> None:
    """Sum over an axis of two operands; of two activations name the parts as attention does.

    Args:
        site: The contraction.
        summed: The axis as each operand has it.
        batch: Axes that both operands and the result have.
        free: The last axis that each operand alone brings to the result.
    """
    operands = site.node.all_input_nodes
    learned = [o for o in operands if o in site.walk.learned]
    parametric = [o for o in learned if o in site.walk.parametric]
    site.unify(*summed)
    if len(learned) < 2 or parametric:
        site.use(Use.CONSUMED, summed[0])
        site.use(Use.PRODUCED, free[0] if operands[0] in parametric else free[1])
        return
    for axis in batch:
        site.use(Use.HEADS, axis)
    if any(leaf in site.walk.normalised or leaf.is_dynamic for leaf in leaves(summed[0])):
        site.use(Use.VALUE_WIDTH, free[1])  # probabilities over tokens times values
    else:
        site.use(Use.KEY_WIDTH, summed[0])


def consume(site: Site, a: Axis, b: Axis) -> None:
    """Unify both sides of a sum and note that it ends there."""
    site.unify(a, b)
    site.use(Use.CONSUMED, a)


def _add_bias(site: Site, result: Axes, bias: object) -> Axes:
    own = site.operand(bias) if isinstance(bias, Node) else ()
    for axis, other in zip(reversed(result), reversed(own), strict=False):
        if size(other) != 1 or size(axis) == 1:
            site.unify(axis, other)
    return result


_MATMUL = Rule(relate_matmul)
RULES = {
    aten.linear: Rule(relate_linear, gather_operands),
    aten.addmm: Rule(relate_addmm, gather_operands),
    aten.baddbmm: Rule(relate_baddbmm, gather_operands),
    aten.einsum: Rule(relate_einsum),
    aten.matmul: _MATMUL,
    aten.mm: _MATMUL,
    aten.bmm: _MATMUL,
    aten.mv: _MATMUL,
    aten.dot: _MATMUL,
}
