"""Score by the activations that a unit sends into the linear layers that consume it."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import final

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import Coupling, Member, Structure
from prunec.passes.analysis.importance.scores import Criterion, sum_over_units
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Entry, Program, language_feeds
from prunec.passes.ir.staged import StagedRun

_BATCH = 8  # windows a forward pass; bounds memory


class _ConsumedActivation(Criterion):
    """Adds up what a unit sends into each linear layer that sums over it."""

    @abstractmethod
    def weigh(self, squares: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Weigh the sums of squared inputs, [in], by the layer's weight, [out, in]."""

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
        wanted = {node for node, _, _ in consumers}
        nodes = [node for node in entry.graph.nodes if node in wanted]
        squares = _square_sums(program, entry, nodes, context)
        result = {s.name: torch.zeros(s.size, dtype=torch.float64) for s in structures}
        for node, member, structure in consumers:
            weighed = self.weigh(squares[node], program.weights[member.weight])
            result[structure.name] += sum_over_units(weighed, member, structure, coupling)
        scored = {structure.name for _, _, structure in consumers}
        for structure in structures:
            if structure.name not in scored:
                raise PassError(
                    f"{structure.name}: no linear layer sums over it, so there is no activation "
                    "to score it by; use criterion=magnitude or taylor"
                )
        return {name: total.sqrt() for name, total in result.items()}


@final
class Activation(_ConsumedActivation):
    """The L2 norm over all tokens of a unit's activations where a linear layer sums over it.

    Transitional activations: the input of the output projection for heads, of the down
    projection for feed-forward channels.
    """

    name = "activation"
    source = "Shen et al. 2024, arXiv 2407.05690 (TransAct), section 3.2"

    def weigh(self, squares: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Take the inputs as they are."""
        return squares


@final
class Wanda(_ConsumedActivation):
    """The same with each input times the norm of the weights that it meets.

    That is what the unit contributes to the layer's output if inputs are uncorrelated.
    """

    name = "wanda"
    source = "Sun et al. 2023, arXiv 2306.11695, eq. 1, summed over structures (Wanda-sp)"

    def weigh(self, squares: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Multiply each input's square with that of its column's norm."""
        return squares * weight.double().square().sum(0)


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


def _square_sums(
    program: Program, entry: Entry, nodes: list[Node], context: Context
) -> dict[Node, torch.Tensor]:
    """The sum of squares over all tokens of each input of these nodes: [in], float64."""
    windows = context.require_calibration("criterion=activation")
    squares = {node: torch.zeros((), dtype=torch.float64) for node in nodes}
    names = [node.name for node in nodes]
    batches = windows.split(_BATCH)
    with torch.no_grad():
        for batch in context.progress(batches, "Activations", len(batches)):
            run = StagedRun(program, entry, [language_feeds(entry, batch)], names)
            for node in nodes:
                x = run.operand(run.advance(node.name, 0), 0, 0)
                squares[node] = squares[node] + x.flatten(0, -2).square().sum(0).double()
    for node, total in squares.items():
        if not torch.isfinite(total).all():
            raise PassError(f"activations at {node.name} are not finite: check the checkpoint")
    return squares
