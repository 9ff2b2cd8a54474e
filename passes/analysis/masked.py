"""What a selection leaves of a program, computed in its old shape: removed units add nothing."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch.fx import Graph, Node

from prunec.passes.analysis.coupling import Coupling, Use, Walk
from prunec.passes.analysis.coupling.branches import Branch, dropped_branches
from prunec.passes.analysis.coupling.site import argument
from prunec.passes.analysis.narrowed import Narrowed, narrowed_by
from prunec.passes.contract import PassError
from prunec.passes.ir import Entry, Program
from prunec.passes.ir.axes import Atom, Axis, leaves
from prunec.passes.ir.selection import Selection
from prunec.passes.ir.shapes import TAKES_ONLY_DTYPE_FROM_SECOND, copy_graph, is_tensor

aten = torch.ops.aten

_NORMS = (aten.layer_norm.default, aten.rms_norm.default)
_PICKING = (operator.getitem, aten.slice.Tensor, aten.select.int)
"""They leave positions out and mix none."""
_MIXING = (Use.CONSUMED, Use.KEY_WIDTH, Use.ROUTED)


def masked_program(program: Program, coupling: Coupling, selection: Selection) -> Program:
    """The program that returns what the cut one would, with every node and size as it was.

    Units are taken out where contractions sum over them, by zeros in the matrices, and branches
    where they are added to the stream. So removed units and dropped branches can be measured as
    well: what reaches their own layer is what the layers before it leave, and all of it. A
    gradient comes back to a dropped branch as far as the branch begins.

    Args:
        program: What `coupling` was found in, with one entry point.
        coupling: Its structures.
        selection: What stays.

    Returns:
        A program whose nodes have the old names; the same object where everything stays.

    Raises:
        PassError: removed units reach others on a way that no contraction is on.
    """
    if not selection:
        return program
    narrowed = narrowed_by(program, coupling, selection)
    _require_summed(program, coupling, selection, narrowed)
    weights = dict(program.weights)
    for layer in narrowed:
        name = layer.contraction.weight
        if weights[name] is program.weights[name]:
            weights[name] = weights[name].clone()
        layer.contraction.matrix(weights)[:, layer.goes] = 0
    masked = replace(program, weights=weights)
    dropped = dropped_branches(coupling.branches, selection)
    if not dropped:
        return masked
    ((name, entry),) = program.entries.items()
    return replace(masked, entries={name: _pass_by(entry, dropped)})


def _require_summed(
    program: Program, coupling: Coupling, selection: Selection, narrowed: Sequence[Narrowed]
) -> None:
    """Refuse removed units that anything but a contraction sums over, chooses by or normalises."""
    masked = {layer.contraction.node for layer in narrowed}
    structures = {s.atom: s for s in coupling.structures}
    by_use = [(axis, node) for use, axis, node in coupling.walk.uses if use in _MIXING]
    mixed = [(atom, node) for axis, node in by_use for atom in leaves(axis)]
    for node in program.main.graph.nodes:
        if node.op == "call_function" and node.target not in _PICKING:
            mixed += [(atom, node) for atom in _mixed(node, coupling.walk)]
    for atom, node in mixed:
        if atom in selection and node not in masked:
            raise PassError(
                f"the plan removes units of {structures[atom].name} ({structures[atom].kind}), "
                f"which {node.name} ({node.target}) reads together; only units that linear layers "
                "alone sum over can be left out of what is fed forward: leave that kind out of "
                "the plan before this score, or use inputs=dense"
            )


def _mixed(node: Node, walk: Walk) -> list[Atom]:
    """The axes along which one result of a node depends on several positions."""
    if not is_tensor(node) and node not in walk.parts:
        return []
    carried = _atoms((*walk.axes.get(node, ()), *chain(*walk.parts.get(node, ()))))
    operands = node.all_input_nodes[: 1 if node.target in TAKES_ONLY_DTYPE_FROM_SECOND else None]
    read = set().union(*(_atoms(walk.axes.get(operand, ())) for operand in operands))
    normalised = carried & walk.normalised
    if node.target in _NORMS:
        shape: Any = argument(node, "normalized_shape")
        normalised |= _atoms(walk.axes[node][-len(shape) :])
    return sorted((read - carried) | normalised, key=lambda atom: atom.serial)


def _atoms(axes: Iterable[Axis]) -> set[Atom]:
    return {leaf for axis in axes for leaf in leaves(axis)}


def _pass_by(entry: Entry, dropped: Sequence[Branch]) -> Entry:
    """The entry point with these branches computed, in graph order, and not added."""
    graph, copies = copy_graph(entry.graph)
    for branch in dropped:
        _hold_gradients(graph, {copies[node] for node in branch.own})
        add = copies[branch.add]
        place = branch.add.args.index(branch.stream)
        added = add.args[1 - place]
        value = _call_after(add, aten.detach.default, added)
        nothing = _call_after(value, aten.sub.Tensor, added, value)
        passed = _call_after(nothing, aten.add.Tensor, add.args[place], nothing)
        passed.meta["val"] = add.meta["val"]
        add.replace_all_uses_with(passed)
    return replace(entry, graph=graph)


def _hold_gradients(graph: Graph, inside: set[Node]) -> None:
    """Let none pass from these nodes to what they are computed from."""
    for node in [n for n in graph.nodes if n in inside]:
        for operand in node.all_input_nodes:
            if operand not in inside and operand.op != "placeholder" and is_tensor(operand):
                with graph.inserting_before(node):
                    held = graph.call_function(aten.detach.default, (operand,))
                node.replace_input_with(operand, held)


def _call_after(node: Node, target: Any, *arguments: Any) -> Node:
    with node.graph.inserting_after(node):
        return node.graph.call_function(target, arguments)
