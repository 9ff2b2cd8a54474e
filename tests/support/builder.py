"""Grow an ATen graph node by node, with weights and ports, into a program."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch.fx import Graph, Node

from prunec.passes.ir import Entry, Port, Program, Role, propagate

aten = torch.ops.aten

VOCABULARY = 11
TOKENS = 5  # new tokens of a run, and of a graph without dynamic sizes
PAST = 3  # tokens in the caches of a run
BATCH = 2

Size = int | Node
Block = Callable[["Builder", Node], Node]
"""From a stream to one of the same shape, by way of weights and operators of its own."""


@dataclass
class Builder:
    """A graph that grows, with its weights and ports."""

    random: Random
    is_dynamic: bool
    width: int
    graph: Graph = field(default_factory=Graph)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    buffers: set[str] = field(default_factory=set)
    reads: dict[str, str] = field(default_factory=dict)
    inputs: list[tuple[Node, Port]] = field(default_factory=list)
    outputs: list[tuple[Node, Port]] = field(default_factory=list)
    shared: dict[Any, Any] = field(default_factory=dict)
    """Tables and masks that several blocks read."""
    scope: str = "start"

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.random.randrange(2**31))
        self.batch: Size = BATCH
        self.tokens: Size = TOKENS

    def chance(self, share: float = 0.5) -> bool:
        """Whether something is done that is done in this share of all cases."""
        return self.random.random() < share

    def pick(self, *choices: Any) -> Any:
        """One of these."""
        return self.random.choice(choices)

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """Append a call of an operator."""
        return self.graph.call_function(target, args, kwargs)

    def part(self, results: Node, place: int) -> Node:
        """One of the tensors that an operator returns."""
        return self.call(operator.getitem, results, place)

    def view(self, x: Node, *sizes: Size) -> Node:
        """X with other sizes, as a view of something contiguous or as a reshape."""
        if self.chance():
            return self.call(aten.reshape.default, x, list(sizes))
        contiguous = self.call(aten.contiguous.default, x)
        return self.call(self.pick(aten.view, aten._unsafe_view).default, contiguous, list(sizes))

    def add_input(self, name: str, role: Role, shape: tuple[int | str, ...], dtype: Any) -> Node:
        """Add an input after those that are there."""
        anchor = self.inputs[-1][0] if self.inputs else None
        with self.graph.inserting_after(anchor) if anchor else self.graph.inserting_before():
            node = self.graph.placeholder(name.replace(".", "_"))
        self.inputs.append((node, Port(name, role, shape, dtype)))
        return node

    def add_output(self, name: str, node: Node, role: Role, shape: tuple[int | str, ...]) -> None:
        """Add an output after those that are there."""
        self.outputs.append((node, Port(name, role, shape, torch.float64)))

    def parameter(self, role: str, *shape: int, around: float = 0.0) -> Node:
        """A random parameter, scaled so that a contraction over its last sizes keeps magnitudes.

        Args:
            role: Its name inside the block.
            shape: Its sizes.
            around: The mean of its values; with a mean of their own they spread by a tenth.
        """
        spread = 0.1 if around else 1 / math.sqrt(max(shape[1:] or (1,)))
        value = torch.randn(shape, generator=self._generator, dtype=torch.float64)
        return self._weight(role, around + spread * value)

    def buffer(self, role: str, value: torch.Tensor) -> Node:
        """A constant: a table or a mask with no parameter behind it."""
        node = self._weight(role, value)
        self.buffers.add(self.reads[node.name])
        return node

    def noise(self, *shape: int) -> torch.Tensor:
        """Random numbers for a buffer."""
        return torch.randn(shape, generator=self._generator, dtype=torch.float64)

    def _weight(self, role: str, value: torch.Tensor) -> Node:
        name = f"{self.scope}.{role}"
        while name in self.weights:
            name += "_"
        self.weights[name] = value
        return self.read(name)

    def read(self, name: str) -> Node:
        """A placeholder that reads a weight, which may have other readers."""
        with self.graph.inserting_before(self.inputs[0][0]):
            node = self.graph.placeholder(f"p{len(self.reads)}_{name.replace('.', '_')}")
        self.reads[node.name] = name
        return node

    def finish(self) -> Program:
        """The program, with the shape of every node."""
        self.graph.output(tuple(node for node, _ in self.outputs))
        entry = Entry(
            self.graph,
            dict(self.reads),
            tuple(port for _, port in self.inputs),
            tuple(port for _, port in self.outputs),
        )
        propagate(entry, self.weights)
        return Program({"main": entry}, self.weights, frozenset(self.buffers))
