"""Score by the activations that a unit sends into the contraction that consumes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import Coupling, Member, Structure
from prunec.passes.analysis.importance.scores import Criterion, sum_over_units
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Entry, Interpreter, Program, language_feeds

_BATCH = 8  # windows a forward pass; bounds memory


class Activation(Criterion):
    """The L2 norm over all tokens of a unit's activations where a linear layer sums over it.

    Transitional activations: the input of the output projection for heads, of the down
    projection for feed-forward channels. float64 accumulation.
    """

    name = "activation"
    source = "Shen et al. 2024, arXiv 2407.05690 (TransAct), section 3.2"

    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> dict[str, torch.Tensor]:
        """See `Criterion.score`."""
        entry = program.main
        consumers = _consumers(entry, structures)
        squares = _square_sums(program, entry, {n for n, _, _ in consumers}, context)
        result = {s.name: torch.zeros(s.size, dtype=torch.float64) for s in structures}
        for node, member, structure in consumers:
            result[structure.name] += sum_over_units(squares[node], member, structure, coupling)
        scored = {structure.name for _, _, structure in consumers}
        for structure in structures:
            if structure.name not in scored:
                raise PassError(
                    f"{structure.name}: no linear layer sums over it, so there is no activation "
                    "to score it by; use criterion=magnitude or taylor"
                )
        return {name: total.sqrt() for name, total in result.items()}


def _consumers(
    entry: Entry, structures: Sequence[Structure]
) -> list[tuple[Node, Member, Structure]]:
    """The linear layers that sum over a structure, with the weight dimension they sum."""
    linears: dict[str, list[Node]] = defaultdict(list)
    for node in entry.graph.nodes:
        if node.target is torch.ops.aten.linear.default:
            linears[entry.reads.get(node.args[1].name, "")].append(node)
    return [
        (node, member, structure)
        for structure in structures
        for member in structure.members
        if member.dim == 1
        for node in linears[member.weight]
    ]


class _InputSquares(Interpreter):
    """Adds up the squared inputs of some nodes, and stops after the last of them."""

    def __init__(self, program: Program, entry: Entry, nodes: set[Node]) -> None:
        super().__init__(program, entry)
        self.squares: dict[Node, torch.Tensor] = {}
        self._by_name = {node.name: node for node in nodes}

    def run_node(self, n: Node) -> Any:
        """Look at a linear layer's input on its way."""
        if n.name in self._by_name:
            x = self.fetch_args_kwargs_from_env(n)[0][0]
            total = x.flatten(0, -2).double().square().sum(0)
            node = self._by_name[n.name]
            self.squares[node] = self.squares.get(node, 0) + total
        return super().run_node(n)


def _square_sums(
    program: Program, entry: Entry, nodes: set[Node], context: Context
) -> dict[Node, torch.Tensor]:
    windows = context.require_calibration("criterion=activation")
    interpreter = _InputSquares(program, entry, nodes)
    batches = windows.split(_BATCH)
    with torch.no_grad():
        for batch in context.progress(batches, "Activations", len(batches)):
            interpreter.feed(language_feeds(entry, batch))
    for node, total in interpreter.squares.items():
        if not torch.isfinite(total).all():
            raise PassError(f"activations at {node.name} are not finite: check the checkpoint")
    return interpreter.squares
