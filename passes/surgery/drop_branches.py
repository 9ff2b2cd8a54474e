"""Drop residual branches whole, with the weights and the caches that nothing else reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch.fx import Graph, Node

from prunec.passes.analysis.coupling import Coupling
from prunec.passes.analysis.coupling.branches import Branch, dropped_branches
from prunec.passes.ir import Entry, Program, Role
from prunec.passes.ir.selection import Selection

aten = torch.ops.aten


def drop_branches(
    after: Program, copies: Mapping[Node, Node], coupling: Coupling, selection: Selection
) -> Program:
    """Let the stream pass where a branch is not selected.

    Args:
        after: The program that is being cut.
        copies: From the nodes that the coupling was found in to those of this program.
        coupling: Has the branches.
        selection: Which of them stay.
    """
    dropped = dropped_branches(coupling.branches, selection)
    if not dropped:
        return after
    ((name, entry),) = after.entries.items()
    for branch in reversed(dropped):  # the stream of a later branch is the sum of an earlier one
        add = copies[branch.add]
        add.replace_all_uses_with(add.all_input_nodes[_place_of_stream(branch)])
    entry = _without_dead(entry)
    read = set(entry.reads.values())
    return replace(
        after,
        entries={name: entry},
        weights={n: w for n, w in after.weights.items() if n in read},
        buffers=frozenset(after.buffers & read),
    )


def _place_of_stream(branch: Branch) -> int:
    """Which operand the stream is: after the cut another node may be there, gathered from it."""
    return branch.add.all_input_nodes.index(branch.stream)


def _without_dead(entry: Entry) -> Entry:
    """Drop what only dead nodes read: caches, weights, and the nodes themselves."""
    graph = entry.graph
    _read_sizes_elsewhere(entry)
    live = _live(entry)
    outputs = [
        (port, node)
        for port, node in zip(entry.outputs, entry.output_nodes(), strict=True)
        if node in live
    ]
    kept_inputs = [
        (port, node)
        for port, node in zip(entry.inputs, entry.input_nodes(), strict=True)
        if node in live or port.role is not Role.CACHE
    ]
    _set_outputs(graph, [node for _, node in outputs])
    stays = {node for _, node in kept_inputs} | live
    for node in reversed(list(graph.nodes)):
        if node.op != "output" and node not in stays:
            graph.erase_node(node)
    reads = {n.name: entry.reads[n.name] for n in graph.nodes if n.name in entry.reads}
    return Entry(
        graph, reads, tuple(port for port, _ in kept_inputs), tuple(port for port, _ in outputs)
    )


def _read_sizes_elsewhere(entry: Entry) -> None:
    """Let a dynamic size that is read off a dying cache be read off an input that stays."""
    live = _live(entry)
    inputs = list(zip(entry.inputs, entry.input_nodes(), strict=True))
    caches = [(port, node) for port, node in inputs if port.role is Role.CACHE]
    outputs = [
        node
        for port, node in zip(entry.outputs, entry.output_nodes(), strict=True)
        if port.role is Role.CACHE
    ]
    dying = {cache: out for cache, out in zip(caches, outputs, strict=True) if out not in live}
    places = {
        label: (node, dim)
        for port, node in inputs
        if (port, node) not in dying
        for dim, label in enumerate(port.shape)
        if isinstance(label, str)
    }
    for port, node in dying:
        for user in [u for u in node.users if u.target is aten.sym_size.int]:
            dim = user.args[1]
            assert isinstance(dim, int)
            if port.shape[dim] in places:
                user.args = places[str(port.shape[dim])]


def _live(entry: Entry) -> set[Node]:
    """What outputs other than caches depend on."""
    queue = [
        node
        for port, node in zip(entry.outputs, entry.output_nodes(), strict=True)
        if port.role is not Role.CACHE
    ]
    live: set[Node] = set()
    while queue:
        node = queue.pop()
        if node not in live:
            live.add(node)
            queue += node.all_input_nodes
    return live


def _set_outputs(graph: Graph, nodes: list[Node]) -> None:
    output = graph.output_node()
    output.args = (tuple(nodes),)
