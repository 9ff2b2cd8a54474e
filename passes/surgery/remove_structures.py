"""Cut planned units out of every tensor that carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.fx import Graph, Node

from prunec.passes.analysis.coupling import Coupling, CutSite, find_structures
from prunec.passes.analysis.coupling.rules import find_rule
from prunec.passes.contract import Context, Pass, PassError, explained
from prunec.passes.ir import Entry, Port, Program
from prunec.passes.ir.axes import Atom, Axis, Indices, Selection, is_cut, kept
from prunec.passes.ir.shapes import copy_graph, propagate
from prunec.passes.plan import PlanError, load_plan


@dataclass(frozen=True)
class RemoveStructures(Pass):
    """Carry out a plan: the one in the context, or one that was stored.

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
        return cut_program(program, coupling, selection)


def cut_program(program: Program, coupling: Coupling, selection: Selection) -> Program:
    """Cut these axes down to the units that stay; the same object where none is cut.

    Args:
        program: What `coupling` was found in.
        coupling: Its structures.
        selection: Axis to the indices that stay, ascending.
    """
    selection = {a: i for a, i in selection.items() if len(i) < a.size}
    if not selection:
        return program
    edit = _Edit(program, coupling, selection)
    weights = {name: edit.cut_weight(name) for name in program.weights}
    entries = {name: edit.cut_entry(entry) for name, entry in program.entries.items()}
    weights |= edit.new_buffers
    after = replace(
        program,
        entries=entries,
        weights=weights,
        buffers=program.buffers | edit.new_buffers.keys(),
    )
    for entry in entries.values():
        propagate(entry, after.weights)
    return after


class _Edit:
    """One cut under way: what stays, and the index tables that it needs."""

    def __init__(
        self, program: Program, coupling: Coupling, selection: Mapping[Atom, Indices]
    ) -> None:
        self.program = program
        self.coupling = coupling
        self.selection = selection
        self.new_buffers: dict[str, torch.Tensor] = {}

    def cut_weight(self, name: str) -> torch.Tensor:
        """The rows and columns of a weight that stay; the same tensor where all do."""
        weight = self.program.weights[name]
        for dim, axis in enumerate(self.coupling.weight_axes[name]):
            if axis is not None and is_cut(axis, self.selection):
                weight = weight.index_select(dim, torch.from_numpy(kept(axis, self.selection)))
        return weight

    def cut_entry(self, entry: Entry) -> Entry:
        """A copy of the graph with every node's literals for the sizes that stay."""
        graph, mapping = copy_graph(entry.graph)
        reads = dict(entry.reads)
        for before in entry.graph.nodes:
            rule = find_rule(before.target) if before.op == "call_function" else None
            if rule is not None and before in self.coupling.walk.axes:
                site = CutSite(
                    walk=self.coupling.walk,
                    before=before,
                    node=mapping[before],
                    graph=graph,
                    selection=self.selection,
                    add_buffer=lambda table: self._add_buffer(graph, reads, table),
                )
                rule.cut(site)
        return replace(
            entry,
            graph=graph,
            reads=reads,
            inputs=self._cut_ports(entry.inputs, entry.input_nodes()),
            outputs=self._cut_ports(entry.outputs, entry.output_nodes()),
        )

    def _cut_ports(self, ports: tuple[Port, ...], nodes: list[Node]) -> tuple[Port, ...]:
        return tuple(
            replace(port, shape=tuple(map(self._cut_size, port.shape, self._axes(node))))
            for port, node in zip(ports, nodes, strict=True)
        )

    def _axes(self, node: Node) -> tuple[Axis | None, ...]:
        return self.coupling.walk.axes[node]

    def _cut_size(self, size: int | str, axis: Axis | None) -> int | str:
        return size if isinstance(size, str) or axis is None else len(kept(axis, self.selection))

    def _add_buffer(self, graph: Graph, reads: dict[str, str], table: torch.Tensor) -> Node:
        """A placeholder for an index table; equal tables are one."""
        name = next((n for n, t in self.new_buffers.items() if torch.equal(t, table)), None)
        if name is None:
            name = f"kept_indices_{len(self.program.weights) + len(self.new_buffers)}"
            self.new_buffers[name] = table
        node = next((n for n in graph.nodes if reads.get(n.name) == name), None)
        if node is None:
            last = [n for n in graph.nodes if n.op == "placeholder" and n.name in reads][-1]
            with graph.inserting_after(last):
                node = graph.placeholder(name)
            reads[node.name] = name
        return node
