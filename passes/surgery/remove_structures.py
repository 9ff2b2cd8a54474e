"""Cut planned units out of every tensor that carries them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.fx import Graph, Node

from prunec.passes.analysis.coupling import (
    Coupling,
    CutSite,
    Structure,
    find_rule,
    find_structures,
)
from prunec.passes.contract import Context, CutRecord, Pass, PassError, explained
from prunec.passes.ir import Entry, Port, Program
from prunec.passes.ir.axes import Axis
from prunec.passes.ir.selection import Kept, PerUnit, Selection, is_cut, kept, kept_count
from prunec.passes.ir.shapes import add_weight, copy_graph, example_size, propagate
from prunec.passes.ir.take import take
from prunec.passes.plan import PlanError, load_plan
from prunec.passes.surgery.drop_branches import drop_branches


@dataclass(frozen=True)
class RemoveStructures(Pass):
    """Carry out a plan: the one in the context, or one that was stored.

    What was cut is left in ``context.cut`` for the repairs of this cut.

    Changes: the size of every weight, literal, scale and cache that carries a removed unit.
    Keeps: inputs, outputs and their names, operators, dtypes, and the values that stay.

    Raises:
        PassError: there is no plan, or it was made for another program.
    """

    name = "remove-structures"

    plan: str = ""
    """A stored plan's path; the plan of this run where empty."""

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        if self.plan:
            with explained(PlanError, f"the plan {self.plan} cannot be used"):
                context.plan = load_plan(Path(self.plan))
        if context.plan is None:
            raise PassError("there is no plan: put allocate before remove-structures, or name one")
        coupling = context.analyse(find_structures, program)
        with explained(PlanError, "the plan does not fit"):
            selection = context.plan.selection(program, coupling)
        with explained(CutError, "the plan cannot be carried out"):
            after = cut_program(program, coupling, selection)
        context.cut = CutRecord(program, after, context.plan)
        return after


def cut_program(program: Program, coupling: Coupling, selection: Selection) -> Program:
    """Cut these axes down to the units that stay; the same object where none is cut.

    Args:
        program: What `coupling` was found in.
        coupling: Its structures.
        selection: Axis to the indices that stay, ascending; for an axis under an outer one also
            for each outer unit its own (`PerUnit`).

    Raises:
        CutError: the selection leaves too few units of a structure, or tells units of an axis
            apart by another that does not stand above it.
    """
    require_valid(coupling, selection)
    selection = {a: k for a, k in selection.items() if kept_count(k) < a.size}
    if not selection:
        return program
    edit = _Edit(program, coupling, selection)
    axes = coupling.weight_axes
    weights = {name: take(w, axes[name], selection) for name, w in program.weights.items()}
    entries = {name: edit.cut_entry(entry) for name, entry in program.entries.items()}
    weights |= edit.new_buffers
    after = replace(
        program,
        entries=entries,
        weights=weights,
        buffers=program.buffers | edit.new_buffers.keys(),
    )
    after = drop_branches(after, edit.copies, coupling, selection)
    for entry in after.entries.values():
        propagate(entry, after.weights)
    edit.require_predicted_shapes(after)
    return after


class CutError(Exception):
    """A selection cannot be cut; the message names the structure and the reason."""


def require_valid(coupling: Coupling, selection: Selection) -> None:
    """Refuse a selection that would not compute what the masked original does.

    Raises:
        CutError: see `cut_program`.
    """
    known = {s.atom: s for s in coupling.structures}
    for atom, chosen in selection.items():
        structure = known.get(atom)
        if structure is None:
            raise CutError("an axis is selected that the analysis does not offer")
        _require_ascending(structure, chosen)
        count = kept_count(chosen)
        if count < structure.least and structure.kind != "layer":
            raise CutError(
                f"{structure.name}: {count} of {structure.size} units would stay, at least "
                f"{structure.least} must"
            )


def _require_ascending(structure: Structure, chosen: Kept) -> None:
    rows = chosen.table if isinstance(chosen, PerUnit) else np.asarray(chosen)[None, :]
    if rows.ndim != 2:
        raise CutError(f"{structure.name}: every outer unit must keep as many of its units")
    if rows.size and (
        (np.diff(rows, axis=1) <= 0).any() or rows.min() < 0 or rows.max() >= structure.size
    ):
        raise CutError(
            f"{structure.name}: units must be ascending, each once, below {structure.size}"
        )
    if isinstance(chosen, PerUnit):
        if structure.outer is None or chosen.outer is not structure.outer:
            raise CutError(
                f"{structure.name}: its units cannot be chosen apart for the units of another "
                "axis, for something is shared by all of them"
            )
        if len(rows) != chosen.outer.size:
            raise CutError(
                f"{structure.name}: {len(rows)} rows of units for {chosen.outer.size} outer units"
            )


class _Edit:
    """One cut under way: what stays, and the index tables that it needs."""

    def __init__(self, program: Program, coupling: Coupling, selection: Selection) -> None:
        self.program = program
        self.coupling = coupling
        self.selection = selection
        self.new_buffers: dict[str, torch.Tensor] = {}
        self.copies: dict[Node, Node] = {}

    def cut_entry(self, entry: Entry) -> Entry:
        """A copy of the graph with every node's literals for the sizes that stay."""
        graph, mapping = copy_graph(entry.graph)
        reads = dict(entry.reads)
        known = self.coupling.walk.axes.keys() | self.coupling.walk.parts.keys()
        for before in entry.graph.nodes:
            rule = find_rule(before.target) if before.op == "call_function" else None
            if rule is not None and before in known:
                site = CutSite(
                    walk=self.coupling.walk,
                    before=before,
                    node=mapping[before],
                    graph=graph,
                    selection=self.selection,
                    copies=mapping,
                    add_buffer=lambda table: self._add_buffer(graph, reads, table),
                )
                rule.cut(site)
        self.copies |= mapping
        return replace(
            entry,
            graph=graph,
            reads=reads,
            inputs=self._cut_ports(entry.inputs, entry.input_nodes()),
            outputs=self._cut_ports(entry.outputs, entry.output_nodes()),
        )

    def require_predicted_shapes(self, after: Program) -> None:
        """Compare every value's sizes with what the analysis says is left.

        Raises:
            CutError: an operator made something else of what it was given, such as a broadcast.
        """
        alive = {node for entry in after.entries.values() for node in entry.graph.nodes}
        for before, copy in self.copies.items():
            axes = self.coupling.walk.axes.get(before, ())
            if copy not in alive or not any(is_cut(axis, self.selection) for axis in axes):
                continue
            found = [example_size(s) for s in copy.meta["val"].shape]
            wanted = [len(kept(axis, self.selection)) for axis in axes]
            if found != wanted:
                raise CutError(
                    f"node {copy.name} ({copy.target}) has the sizes {found} after the cut, the "
                    f"analysis expects {wanted}: its rule is wrong; nothing was cut"
                )

    def _cut_ports(self, ports: tuple[Port, ...], nodes: list[Node]) -> tuple[Port, ...]:
        return tuple(
            replace(port, shape=tuple(map(self._cut_size, port.shape, self._axes(node))))
            for port, node in zip(ports, nodes, strict=True)
        )

    def _axes(self, node: Node) -> tuple[Axis, ...]:
        return self.coupling.walk.axes[node]

    def _cut_size(self, size: int | str, axis: Axis) -> int | str:
        if isinstance(size, str) or not is_cut(axis, self.selection):
            return size
        return len(kept(axis, self.selection))

    def _add_buffer(self, graph: Graph, reads: dict[str, str], table: torch.Tensor) -> Node:
        """A placeholder for an index table; equal tables are one."""
        name = next((n for n, t in self.new_buffers.items() if torch.equal(t, table)), None)
        if name is None:
            name = self._unused_name()
            self.new_buffers[name] = table
        node = next((n for n in graph.nodes if reads.get(n.name) == name), None)
        if node is None:
            node = add_weight(graph, reads, name)
        return node

    def _unused_name(self) -> str:
        """A name for a table; an earlier cut may have left tables and dropped other weights."""
        taken = self.program.weights.keys() | self.new_buffers.keys()
        names = (f"kept_indices_{number}" for number in itertools.count(len(taken)))
        return next(name for name in names if name not in taken)
