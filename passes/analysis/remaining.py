"""See an entry point as it is once residual branches are dropped, without dropping them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.branches import Branch
from prunec.passes.ir import Entry, Role

aten = torch.ops.aten


@dataclass(frozen=True)
class Remaining:
    """What of an entry point is left.

    Attributes:
        entry: The entry point, uncut.
        nodes: Those that are left, in order.
        renamed: For the sum that closes a dropped branch, the stream that takes its place.
        moved: Reads of a size off a cache that goes: they read it off another input.
    """

    entry: Entry
    nodes: tuple[Node, ...]
    renamed: Mapping[Node, Node]
    moved: frozenset[Node] = frozenset()

    def operands(self, node: Node) -> list[Node]:
        """What a node reads."""
        return _operands(node, self.renamed, self.moved)

    def value(self, node: Node) -> Node:
        """The node itself, or what takes its place."""
        return _resolve(node, self.renamed)


def whole(entry: Entry) -> Remaining:
    """The entry point with every branch."""
    return Remaining(entry, tuple(entry.graph.nodes), {})


def without(entry: Entry, dropped: Sequence[Branch]) -> Remaining:
    """The entry point without these branches, and without what then nothing reads."""
    if not dropped:
        return whole(entry)
    renamed = {branch.add: branch.stream for branch in dropped}
    moved = _moved_sizes(entry, _live(entry, renamed, frozenset()))
    live = _live(entry, renamed, moved)
    return Remaining(entry, tuple(n for n in entry.graph.nodes if n in live), renamed, moved)


def _resolve(node: Node, renamed: Mapping[Node, Node]) -> Node:
    while node in renamed:
        node = renamed[node]
    return node


def _operands(node: Node, renamed: Mapping[Node, Node], moved: frozenset[Node]) -> list[Node]:
    return [] if node in moved else [_resolve(o, renamed) for o in node.all_input_nodes]


def _live(entry: Entry, renamed: Mapping[Node, Node], moved: frozenset[Node]) -> set[Node]:
    """What outputs other than caches depend on."""
    queue = [
        _resolve(node, renamed)
        for port, node in zip(entry.outputs, entry.output_nodes(), strict=True)
        if port.role is not Role.CACHE
    ]
    live: set[Node] = set()
    while queue:
        node = queue.pop()
        if node not in live:
            live.add(node)
            queue += _operands(node, renamed, moved)
    return live


def _moved_sizes(entry: Entry, live: set[Node]) -> frozenset[Node]:
    """Reads of a dynamic size off a cache that nothing else needs, where an input has it too."""
    ports = list(zip(entry.inputs, entry.input_nodes(), strict=True))
    caches = [(port, node) for port, node in ports if port.role is Role.CACHE]
    results = [
        node
        for port, node in zip(entry.outputs, entry.output_nodes(), strict=True)
        if port.role is Role.CACHE
    ]
    dying = {cache for cache, result in zip(caches, results, strict=True) if result not in live}
    labels = {s for found in ports if found not in dying for s in found[0].shape}
    return frozenset(
        user
        for port, node in dying
        for user in node.users
        if user.target is aten.sym_size.int and port.shape[user.args[1]] in labels  # type: ignore[index]
    )
