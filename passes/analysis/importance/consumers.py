"""The linear layers that sum over a structure, and sums over a text of what they are given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import Member, Structure
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Entry, Program, language_feeds
from prunec.passes.ir.staged import StagedRun

_BATCH = 8  # windows a forward pass; bounds memory


@dataclass(frozen=True)
class Consumer:
    """A linear layer whose inputs carry a structure."""

    node: Node
    member: Member
    structure: Structure


def require_consumers(entry: Entry, structures: Sequence[Structure]) -> list[Consumer]:
    """Every linear layer that sums over one of these structures.

    Raises:
        PassError: there is none for some structure.
    """
    linears: dict[str, list[Node]] = defaultdict(list)
    for node in entry.graph.nodes:
        if node.target is torch.ops.aten.linear.default:
            linears[entry.reads.get(node.args[1].name, "")].append(node)
    found = [
        Consumer(node, member, structure)
        for structure in structures
        for member in structure.members
        if member.dim == 1
        for node in linears[member.weight]
    ]
    scored = {consumer.structure.name for consumer in found}
    for structure in structures:
        if structure.name not in scored:
            raise PassError(
                f"{structure.name}: no linear layer sums over it, so there is no activation to "
                "score it by; use criterion=magnitude or taylor"
            )
    return found


def sum_over_text(
    program: Program,
    consumers: Sequence[Consumer],
    statistic: Callable[[torch.Tensor], torch.Tensor],
    context: Context,
    wanted_by: str,
) -> dict[Node, torch.Tensor]:
    """Add up a statistic of each layer's inputs over the calibration text, in float64.

    Args:
        program: What to run.
        consumers: The layers.
        statistic: From inputs [tokens, in] to what is added up.
        context: Has the text.
        wanted_by: For the message where it has none.

    Raises:
        PassError: there is no text, or a sum is not finite.
    """
    windows = context.require_calibration(wanted_by)
    wanted = {consumer.node for consumer in consumers}
    nodes = [node for node in program.main.graph.nodes if node in wanted]
    sums = {node: torch.zeros((), dtype=torch.float64) for node in nodes}
    batches = windows.split(_BATCH)
    with torch.no_grad():
        for batch in context.progress(batches, "Activations", len(batches)):
            feeds = [language_feeds(program.main, batch)]
            run = StagedRun(program, program.main, feeds, [node.name for node in nodes])
            for node in nodes:
                x = run.operand(run.advance(node.name, 0), 0, 0).flatten(0, -2)
                sums[node] = sums[node] + statistic(x).double()
    for node, total in sums.items():
        if not torch.isfinite(total).all():
            raise PassError(f"activations at {node.name} are not finite: check the checkpoint")
    return sums
