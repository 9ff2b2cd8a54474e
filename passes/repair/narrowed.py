"""The contractions that a cut left with fewer inputs and with outputs to aim at."""

from __future__ import annotations

from collections.abc import Iterator

from torch.fx import Node

from prunec.passes.analysis.coupling import Use, find_structures
from prunec.passes.analysis.narrowed import Narrowed, narrowed_by
from prunec.passes.contract import Context, PassError, PlanError, explained
from prunec.passes.ir import Program
from prunec.passes.ir.selection import is_cut


def left_as_cut(program: Program, context: Context) -> list[str]:
    """The sums over a cut axis that `narrowed_contractions` leaves out, in graph order.

    Raises:
        PassError: nothing was cut before in this run.
    """
    repaired = {layer.contraction.node for layer in narrowed_contractions(program, context)}
    assert context.reference is not None
    assert context.plan is not None
    coupling = context.analyse(find_structures, context.reference)
    selection = context.plan.selection(context.reference, coupling)
    walk, reads = coupling.walk, context.reference.main.reads
    left = []
    for use, axis, node in walk.uses:
        weights = [reads[n.name] for n in _placeholders(node, walk.parametric) if n.name in reads]
        is_there = all(name in program.weights for name in weights)
        if use is Use.CONSUMED and is_cut(axis, selection) and node not in repaired and is_there:
            left.append(node.name)
    return list(dict.fromkeys(left))


def _placeholders(node: Node, parametric: set[Node]) -> Iterator[Node]:
    """The placeholders that matrices among the operands are rearranged or chosen from."""
    for operand in node.all_input_nodes:
        if operand.op == "placeholder":
            yield operand
        elif operand in parametric:
            yield from _placeholders(operand, parametric)


def narrowed_contractions(program: Program, context: Context) -> list[Narrowed]:
    """The contractions of the program before the cut that lost inputs, in graph order.

    Those whose outputs were cut as well have nothing to aim at and are left out, and so are
    those of branches that went whole, and experts where others of them went.

    Raises:
        PassError: nothing was cut before in this run.
    """
    if context.reference is None or context.plan is None:
        raise PassError("there is no cut to repair: put the repair after remove-structures")
    coupling = context.analyse(find_structures, context.reference)
    with explained(PlanError, "the plan of this run is not that of the cut"):
        selection = context.plan.selection(context.reference, coupling)
    result = []
    for layer in narrowed_by(context.reference, coupling, selection):
        weight, summed = layer.contraction.weight, layer.contraction.summed
        others = [a for d, a in enumerate(coupling.weight_axes.get(weight, ())) if d != summed]
        if weight in program.weights and not any(is_cut(axis, selection) for axis in others):
            result.append(layer)
    return result
