"""Run many batches through one graph together, stopping between nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.ir.program import Entry, Program


class StagedRun:
    """All batches advance to a node before any goes past it.

    Weights are looked up when a node runs, so changing `weights` between two stages affects
    every later node. Holds only values that a later target still needs.

    Args:
        program: Gives the first weights.
        entry: What to run.
        batches: The inputs of each batch by port name.
        targets: Names of the nodes that will be asked for, in graph order.
        held: Nodes whose values stay once they are there.
    """

    def __init__(
        self,
        program: Program,
        entry: Entry,
        batches: Sequence[Mapping[str, torch.Tensor]],
        targets: Sequence[str],
        held: Collection[Node] = (),
    ) -> None:
        self.weights = dict(program.weights)
        self._entry = entry
        needed = _ancestors(entry, set(targets))
        self._nodes = [n for n in entry.graph.nodes if n in needed]
        self._place = {node.name: place for place, node in enumerate(self._nodes)}
        self._last_use = {
            operand: place
            for place, n in enumerate(self._nodes)
            for operand in n.all_input_nodes
            if operand not in held
        }
        self._next = 0
        inputs = dict(zip(entry.input_nodes(), (p.name for p in entry.inputs), strict=True))
        self._values: list[dict[Node, Any]] = [
            {node: feeds[name] for node, name in inputs.items()} for feeds in batches
        ]

    def advance(self, target: str, batch: int) -> Node:
        """Run one batch up to the target, which itself does not run yet.

        Call for every batch with the same target before the next target.
        """
        place = self._place[target]
        values = self._values[batch]
        for position in range(self._next, place):
            node = self._nodes[position]
            if node.op == "call_function":
                values[node] = self._call(node, values)
            for operand in node.all_input_nodes:
                if self._last_use.get(operand) == position:
                    values.pop(operand, None)
        if batch == len(self._values) - 1:
            self._next = place
        return self._nodes[place]

    def operand(self, node: Node, position: int, batch: int) -> torch.Tensor:
        """An operand of a node that is about to run."""
        return self._value(node.args[position], self._values[batch])

    def read(self, node: Node, batch: int) -> torch.Tensor:
        """A value that a node which is about to run, or a later one, reads."""
        result: torch.Tensor = self._value(node, self._values[batch])
        return result

    def peek(self, node: Node, batch: int) -> torch.Tensor:
        """What a node that is about to run would return with the weights as they are."""
        result: torch.Tensor = self._call(node, self._values[batch])
        return result

    def repeat(self, node: Node, batch: int) -> None:
        """Compute a value that is there already again, with the weights as they are now."""
        self._values[batch][node] = self._call(node, self._values[batch])

    def _call(self, node: Node, values: dict[Node, Any]) -> Any:
        def value(operand: Node) -> Any:
            return self._value(operand, values)

        args = torch.fx.map_arg(node.args, value)
        kwargs = torch.fx.map_arg(node.kwargs, value)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _value(self, operand: Any, values: Mapping[Node, Any]) -> Any:
        weight = self._entry.reads.get(operand.name)
        return values[operand] if weight is None else self.weights[weight]


def _ancestors(entry: Entry, targets: set[str]) -> set[Node]:
    """The targets and all that they depend on."""
    needed: set[Node] = set()
    for node in reversed(list(entry.graph.nodes)):
        if node.name in targets or node in needed:
            needed.add(node)
            needed.update(node.all_input_nodes)
    return needed
