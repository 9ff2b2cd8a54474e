"""Drop what no output depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch.fx import Node

from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Entry, Program
from prunec.passes.ir.shapes import copy_graph


@dataclass(frozen=True)
class DropDeadNodes(Pass):
    """Drop nodes that nothing reads, and weights that no entry point reads any more.

    Changes: the number of nodes and weights.
    Keeps: every output, every input even where unused.
    """

    name = "drop-dead-nodes"
    is_exact = True

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        entries = {name: _drop(entry) for name, entry in program.entries.items()}
        if all(entries[name] is program.entries[name] for name in entries):
            return program
        read = {w for entry in entries.values() for w in entry.reads.values()}
        weights = {n: w for n, w in program.weights.items() if n in read}
        return replace(
            program, entries=entries, weights=weights, buffers=program.buffers & weights.keys()
        )


def _drop(entry: Entry) -> Entry:
    graph, _ = copy_graph(entry.graph)
    inputs = {node.name for node in entry.input_nodes()}
    dropped: set[str] = set()
    for node in reversed(list(graph.nodes)):
        if node.op != "output" and not node.users and not _must_stay(node, inputs):
            dropped.add(node.name)
            graph.erase_node(node)
    if not dropped:
        return entry
    reads = {node: weight for node, weight in entry.reads.items() if node not in dropped}
    return replace(entry, graph=graph, reads=reads)


def _must_stay(node: Node, inputs: set[str]) -> bool:
    return node.op == "placeholder" and node.name in inputs
