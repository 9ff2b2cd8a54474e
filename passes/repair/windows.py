"""Windows of a graph: what lies between two values of a residual stream, as a function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import Coupling
from prunec.passes.analysis.coupling.branches import Branch
from prunec.passes.ir import Entry, Program
from prunec.passes.ir.shapes import takes_only_dtype


@dataclass(frozen=True)
class Window:
    """The nodes that compute one value of a stream from an earlier one.

    Attributes:
        entry: Whose graph it is part of.
        stream: The earlier value.
        nodes: In graph order; the last one is the later value.
        given: The values from outside that they read, weights left out; all of them are there when
            the first node runs.
        reads: The weights that they read, by placeholder.
    """

    entry: Entry
    stream: Node
    nodes: tuple[Node, ...]
    given: tuple[Node, ...]
    reads: Mapping[Node, str]

    @property
    def result(self) -> Node:
        """The later value of the stream."""
        return self.nodes[-1]

    def own_weights(self) -> list[str]:
        """The weights whose values nothing outside of the window reads, buffers among them."""
        inside = set(self.nodes)
        counts = Counter(self.entry.reads.values())
        return [
            name
            for node, name in self.reads.items()
            if counts[name] == 1
            and all(user in inside or takes_only_dtype(user, node) for user in node.users)
        ]

    def run(self, given: Mapping[Node, Any], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Compute the later value.

        Args:
            given: Values of `given`.
            weights: By name, those of `reads` at least.
        """
        values = dict(given) | {node: weights[name] for node, name in self.reads.items()}
        for node in self.nodes:
            args = torch.fx.map_arg(node.args, values.__getitem__)
            kwargs = torch.fx.map_arg(node.kwargs, values.__getitem__)
            values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        return values[self.result]


def find_windows(program: Program, coupling: Coupling, span: int = 1) -> list[Window]:
    """Windows of so many residual branches each, in graph order; none where there is no stream.

    Args:
        program: With one entry point.
        coupling: Has its branches.
        span: Branches of a window; the last window may have fewer, and one may have more so that
            branches beside each other stay together.
    """
    groups: list[list[Branch]] = []
    for branch in _in_order(program, coupling):
        if not groups or (len(groups[-1]) >= span and _may_begin(branch)):
            groups.append([])
        groups[-1].append(branch)
    next_streams = [*(group[0].stream for group in groups[1:]), None]
    return [
        _window_of(program.main, group, next_stream)
        for group, next_stream in zip(groups, next_streams, strict=True)
    ]


def _window_of(entry: Entry, group: Sequence[Branch], next_stream: Node | None) -> Window:
    """The window of these branches, with what else makes their last sum the next ones' stream.

    That is a norm where norms stand behind the sums.
    """
    if next_stream is not None:
        window = window_between(entry, group[0].stream, next_stream)
        if group[-1].add in window.nodes:
            return window
    return window_between(entry, group[0].stream, group[-1].add)


def last_window(program: Program, coupling: Coupling, span: int) -> Window | None:
    """The window of the last so many residual branches; None where there is no stream.

    It has more of them where the first of so many stands beside another one.
    """
    branches = _in_order(program, coupling)
    begins = [place for place, branch in enumerate(branches) if _may_begin(branch)]
    if not begins:
        return None
    start = max(p for p in begins if p <= max(len(branches) - span, begins[0]))
    return window_between(program.main, branches[start].stream, branches[-1].add)


def _may_begin(branch: Branch) -> bool:
    """Whether a window can begin with it: it is computed from the stream that it is added to."""
    return branch.source is branch.stream


def _in_order(program: Program, coupling: Coupling) -> list[Branch]:
    order = {node: place for place, node in enumerate(program.main.graph.nodes)}
    branches = [branch for found in coupling.branches for branch in found.branches]
    return sorted(branches, key=lambda branch: order[branch.add])


def window_between(entry: Entry, stream: Node, result: Node) -> Window:
    """What a result depends on and comes after an earlier value of the stream."""
    order = {node: place for place, node in enumerate(entry.graph.nodes)}
    after = order[stream]
    inside = {result}
    queue = [result]
    while queue:
        new = [n for n in queue.pop().all_input_nodes if n not in inside and order[n] > after]
        inside.update(new)
        queue += new
    nodes = tuple(sorted(inside, key=order.__getitem__))
    outside = dict.fromkeys(
        operand for node in nodes for operand in node.all_input_nodes if operand not in inside
    )
    reads = {node: entry.reads[node.name] for node in outside if node.name in entry.reads}
    return Window(entry, stream, nodes, tuple(n for n in outside if n not in reads), reads)
