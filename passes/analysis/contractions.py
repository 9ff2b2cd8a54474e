"""The operators that multiply activations with a learned matrix, however the graph spells them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.contraction_table import OPERANDS
from prunec.passes.ir import Entry

aten = torch.ops.aten

_WITH_A_MATRIX = (aten.linear, aten.addmm, aten.mm, aten.matmul)
"""Of the operators that sum products those that take activations and a matrix in this order."""
_BIASES: dict[Any, int] = {aten.linear: 2, aten.addmm: 0}
"""Where they take what they add to the products."""
_TURNS = (aten.t, aten.numpy_T, aten.transpose, aten.swapaxes, aten.permute)
"""Operators that can do nothing to a matrix but turn it."""


@dataclass(frozen=True)
class Contraction:
    """One such operator, or one expert's share of an operator that serves several.

    Attributes:
        node: Of the graph.
        operand: The place of the activations among its arguments: [..., in].
        weight: The name of the matrix, or of experts' matrices: [expert, ...].
        summed: The dimension of the stored weight that is summed over: the last as a linear layer
            has it, the one before where the graph multiplies with the matrix itself.
        expert: Which one of the experts' matrices; None where there is one matrix.
        places: The node that says which expert each row belongs to: [row]. None where rows are
            laid out by experts: [expert, row, ...].
        gathering: The nodes that choose each row's matrix out of the weight, in graph order.
    """

    node: Node
    operand: int
    weight: str
    summed: int
    expert: int | None = None
    places: Node | None = None
    gathering: tuple[Node, ...] = ()

    @property
    def bias(self) -> Node | None:
        """What it adds to the products; None where it adds nothing."""
        packet = self.node.target.overloadpacket  # type: ignore[union-attr]
        place = _BIASES.get(packet)
        found = self.node.args[place] if place is not None and place < len(self.node.args) else None
        return found if isinstance(found, Node) else None

    def matrix(self, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The weight as [out, in], a view."""
        stored = weights[self.weight]
        if self.expert is None:
            return stored if self.summed == 1 else stored.T
        return stored[self.expert] if self.summed == 2 else stored[self.expert].T

    def rows(self, value: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """What this matrix meets of an operand, or makes of a result: [row, width].

        Args:
            value: The operand's, or the node's own.
            places: What the node `places` gives, where there is one.
        """
        if self.expert is None:
            return value.reshape(-1, value.shape[-1])
        laid = value if self.operand == 0 else value.transpose(-1, -2)
        chosen = laid[self.expert] if places is None else laid[places == self.expert]
        return chosen.reshape(-1, laid.shape[-1])


def contractions(entry: Entry) -> Iterator[Contraction]:
    """Every such operator of a graph, in graph order; experts' batches of matrices are none."""
    for node in entry.graph.nodes:
        found = contraction_at(entry, node)
        if found is not None:
            yield found


def contraction_at(entry: Entry, node: Node) -> Contraction | None:
    """The contraction with one learned matrix that a node is; None where it is none."""
    packet = getattr(node.target, "overloadpacket", None)
    if packet not in _WITH_A_MATRIX:
        return None
    operand, place = OPERANDS[packet]
    matrix, turned = _untwist(node.args[place])  # type: ignore[arg-type]
    if matrix.name not in entry.reads or matrix.meta["val"].dim() != 2:
        return None
    summed = int(packet is aten.linear)
    return Contraction(node, operand, entry.reads[matrix.name], summed ^ turned)


def _untwist(node: Node) -> tuple[Node, bool]:
    """What is turned on the way to a node, and whether it arrives turned."""
    turned = False
    while getattr(node.target, "overloadpacket", None) in _TURNS:
        source = node.args[0]
        assert isinstance(source, Node)
        if source.meta["val"].dim() != 2:
            break
        turned ^= not _is_identity(node)
        node = source
    return node, turned


def _is_identity(node: Node) -> bool:
    packet = getattr(node.target, "overloadpacket", None)
    dims: Any = node.args[1:]
    if packet is aten.permute:
        return [d % 2 for d in dims[0]] == [0, 1]
    if packet in (aten.transpose, aten.swapaxes):
        return bool(dims[0] % 2 == dims[1] % 2)
    return False
