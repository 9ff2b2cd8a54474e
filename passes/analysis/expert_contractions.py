"""Contractions with a batch of learned matrices, one of which each row belongs to: experts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.contraction_table import OPERANDS
from prunec.passes.analysis.contractions import Contraction, contraction_at
from prunec.passes.ir import Entry

aten = torch.ops.aten


def all_contractions(entry: Entry) -> Iterator[Contraction]:
    """Every contraction with learned matrices, in graph order, one for each expert of a batch.

    Experts are seen in two spellings: each row's own matrix is chosen out of the weight by an
    index (``bmm(weight[places], x)``), or rows are laid out by experts (``bmm(x, weight)``).
    """
    for node in entry.graph.nodes:
        found = contraction_at(entry, node)
        if found is not None:
            yield found
        elif OPERANDS.get(getattr(node.target, "overloadpacket", None)) == (0, 1):
            yield from _of_experts(entry, node)


def _of_experts(entry: Entry, node: Node) -> Iterator[Contraction]:
    operands: Any = node.args[:2]
    if any(o.meta["val"].dim() != 3 for o in operands):
        return
    for operand, factor in ((0, operands[1]), (1, operands[0])):
        weight, places = _chosen(factor)
        if weight.name in entry.reads and weight.meta["val"].dim() == 3:
            name = entry.reads[weight.name]
            gathering = () if places is None else (factor,)
            # Experts' rows stand before their matrices, or columns behind them.
            summed = 1 if operand == 0 else 2
            for expert in range(weight.meta["val"].shape[0]):
                yield Contraction(node, operand, name, summed, expert, places, gathering)
            return


def _chosen(factor: Node) -> tuple[Node, Node | None]:
    """What matrices are chosen from, and the node that says which; None where it is all."""
    arguments: Any = factor.args
    if factor.target is aten.index.Tensor and len(arguments[1]) == 1:
        weight, places = arguments[0], arguments[1][0]
    elif factor.target is aten.index_select.default and arguments[1] == 0:
        weight, places = arguments[0], arguments[2]
    else:
        return factor, None
    return (weight, places) if places.meta["val"].dim() == 1 else (factor, None)
