"""Spell operators in the one way that later passes and the lowering look for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch.fx import Graph, Node

from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Entry, Program
from prunec.passes.ir.shapes import copy_graph, is_dynamic

aten = torch.ops.aten
_VIEWS = (aten.view.default, aten._unsafe_view.default)


@dataclass(frozen=True)
class UsePlainOperators(Pass):
    """Turn views into reshapes, and indexing by a constant range into a slice.

    A view wants strides that another pass may change by dropping a copy or by cutting; a range
    of constant indices is a segment of an axis, which indexing by data is not.

    Changes: operators.
    Keeps: every output, bit for bit.
    """

    name = "use-plain-operators"
    is_exact = True

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        entries = {name: _rewrite(entry, program) for name, entry in program.entries.items()}
        if all(entries[name] is entry for name, entry in program.entries.items()):
            return program
        return replace(program, entries=entries)


def _rewrite(entry: Entry, program: Program) -> Entry:
    constants = {
        node: program.weights[name]
        for node, name in entry.weight_nodes()
        if name in program.buffers and program.weights[name].dtype is torch.int64
    }
    changes: dict[Node, Callable[[Graph, Node], None]] = {}
    for node in entry.graph.nodes:
        if node.target in _VIEWS:
            changes[node] = _to_reshape
        elif node.target is aten.index.Tensor and _constant_range(node, constants):
            changes[node] = _to_slice(*_constant_range(node, constants))  # type: ignore[misc]
    if not changes:
        return entry
    graph, mapping = copy_graph(entry.graph)
    for before, change in changes.items():
        change(graph, mapping[before])
    return replace(entry, graph=graph)


def _to_reshape(graph: Graph, node: Node) -> None:
    node.target = aten.reshape.default


def _to_slice(dim: int, start: int, count: int) -> Callable[[Graph, Node], None]:
    def change(graph: Graph, node: Node) -> None:
        node.target = aten.slice.Tensor
        node.args = (node.args[0], dim, start, start + count)

    return change


def _constant_range(
    node: Node, constants: Mapping[Node, torch.Tensor]
) -> tuple[int, int, int] | None:
    """Dimension, start and length where a node takes a run of neighbours; None otherwise."""
    source, indices = node.args
    assert isinstance(source, Node)
    places = [d for d, index in enumerate(indices) if index is not None]  # type: ignore[arg-type]
    if len(places) != 1:
        return None
    (dim,) = places
    values = constants.get(_uncopied(indices[dim]))  # type: ignore[index, arg-type]
    size = source.meta["val"].shape[dim]
    if values is None or values.dim() != 1 or not len(values) or is_dynamic(size):
        return None
    if isinstance(values, torch._subclasses.FakeTensor):
        return None
    found = [int(v) % size for v in values]
    start = found[0]
    return (dim, start, len(found)) if found == [*range(start, start + len(found))] else None


def _uncopied(node: Node) -> Node:
    while node.target is aten.lift_fresh_copy.default:
        (node,) = node.all_input_nodes
    return node
