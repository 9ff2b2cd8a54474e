"""The contractions that a cut left with fewer inputs and with outputs to aim at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch.fx import Node

from prunec.passes.analysis.contractions import Contraction
from prunec.passes.analysis.coupling import Use, find_structures
from prunec.passes.analysis.expert_contractions import all_contractions
from prunec.passes.analysis.narrowed import Narrowed, narrowed_by
from prunec.passes.contract import Context, CutRecord, PassError
from prunec.passes.ir import Entry, Program
from prunec.passes.ir.selection import is_cut


def left_as_cut(cut: CutRecord, context: Context) -> list[str]:
    """The sums over a cut axis that `narrowed_contractions` leaves out, in graph order."""
    repaired = {layer.contraction.node for layer in narrowed_contractions(cut, context)}
    coupling = context.analyse(find_structures, cut.before)
    selection = cut.plan.selection(cut.before, coupling)
    walk, reads = coupling.walk, cut.before.main.reads
    left = []
    for use, axis, node in walk.uses:
        weights = [reads[n.name] for n in _placeholders(node, walk.parametric) if n.name in reads]
        is_there = all(name in cut.after.weights for name in weights)
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


def narrowed_contractions(cut: CutRecord, context: Context) -> list[Narrowed]:
    """The contractions of the program before a cut that lost inputs, in graph order.

    Those whose outputs were cut as well have nothing to aim at and are left out, and so are
    those of branches that went whole, and experts where others of them went.
    """
    coupling = context.analyse(find_structures, cut.before)
    selection = cut.plan.selection(cut.before, coupling)
    result = []
    for layer in narrowed_by(cut.before, coupling, selection):
        weight, summed = layer.contraction.weight, layer.contraction.summed
        others = [a for d, a in enumerate(coupling.weight_axes.get(weight, ())) if d != summed]
        if weight in cut.after.weights and not any(is_cut(axis, selection) for axis in others):
            result.append(layer)
    return result


def found_again(
    layers: Sequence[Narrowed], program: Program, cut: CutRecord, wanted_by: str
) -> list[Contraction]:
    """Where a program that the cut left, and perhaps other passes changed, has these contractions.

    Raises:
        PassError: of one of them, another pass than a repair removed the weight, gave it other
            values, or uses it in another way.
    """
    left = _by_weight(cut.after.main)
    there = [_by_weight(entry) for entry in program.entries.values()]
    result = []
    for layer in layers:
        weight = layer.contraction.weight
        uses = left[weight]
        alike = [e[weight] for e in there if list(map(_use, e[weight])) == list(map(_use, uses))]
        change = _change(program.weights.get(weight), cut.after.weights[weight])
        if change or not alike:
            raise PassError(
                f"{weight} lost inputs by the cut, and {change or 'is used in another way'} since: "
                f"another pass rewrote it. Put {wanted_by} behind remove-structures and before "
                "that pass"
            )
        name, expert = layer.contraction.node.name, layer.contraction.expert
        places = [p for p, use in enumerate(uses) if (use.node.name, use.expert) == (name, expert)]
        result += [alike[0][place] for place in places]
    return result


def _by_weight(entry: Entry) -> dict[str, list[Contraction]]:
    found: dict[str, list[Contraction]] = defaultdict(list)
    for contraction in all_contractions(entry):
        found[contraction.weight].append(contraction)
    return found


def _use(contraction: Contraction) -> tuple[int, int | None]:
    return contraction.summed, contraction.expert


def _change(found: torch.Tensor | None, left: torch.Tensor) -> str:
    """What happened to a weight; empty where nothing did."""
    if found is None:
        return "is gone"
    if found is left or (found.dtype == left.dtype and torch.equal(found, left)):
        return ""
    return f"has other values, {list(found.shape)} of {found.dtype},"
