"""Write operators into a copy of a graph as if they were called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node, Proxy
from torch.fx.proxy import GraphAppendingTracer

from prunec.passes.ir import Entry, Port, Role
from prunec.passes.ir.program import Size
from prunec.passes.ir.shapes import add_weight, copy_graph

aten = torch.ops.aten


class GraphWriter:
    """A copy of an entry point that grows: what functions do to its proxies becomes nodes.

    Nodes are named by those of the original entry point.

    Attributes:
        constants: Tensors that the new nodes read, by the name that they have as weights.
    """

    def __init__(self, entry: Entry) -> None:
        self.constants: dict[str, torch.Tensor] = {}
        self._entry = entry
        self._graph, self._copies = copy_graph(entry.graph)
        self._reads = dict(entry.reads)
        self._tracer = GraphAppendingTracer(self._graph)
        self._order = {node.name: place for place, node in enumerate(entry.graph.nodes)}
        self._by_name = {node.name: node for node in entry.graph.nodes}

    def input(self, role: Role) -> Node | None:
        """The original's input of a role; None where it has none."""
        ports = zip(self._entry.inputs, self._entry.input_nodes(), strict=True)
        return next((node for port, node in ports if port.role is role), None)

    def batch_labels(self) -> tuple[Size, ...]:
        """The size of the batch as ports state it: one label."""
        return next(p.shape[:1] for p in self._entry.inputs if p.role is Role.TOKENS)

    def proxy(self, node: Node) -> Any:
        """A node of the original, to call functions with."""
        return Proxy(self._copies[node], self._tracer)

    def weight(self, name: str) -> Any:
        """A weight that the entry point reads, to call functions with."""
        node = next(node for node, weight in self._entry.weight_nodes() if weight == name)
        return self.proxy(node)

    def size(self, node: Node, dim: int) -> Any:
        """A size of a node of the original, to call functions with."""
        found = aten.sym_size.int(self.proxy(node), dim)
        found.node.meta["val"] = node.meta["val"].shape[dim]
        return found

    def value(self, proxy: Any) -> Any:
        """What is known of a size that `size` gave."""
        return proxy.node.meta["val"]

    def constant(self, name: str, tensor: torch.Tensor) -> Any:
        """A tensor that the graph reads as a weight; equal tensors are read as one."""
        known = next((n for n, t in self.constants.items() if _is_same(t, tensor)), None)
        if known is None:
            known = name if name not in self.constants else f"{name}.{len(self.constants)}"
            self.constants[known] = tensor
            return Proxy(add_weight(self._graph, self._reads, known), self._tracer)
        place = next(place for place, weight in self._reads.items() if weight == known)
        return Proxy(next(n for n in self._graph.nodes if n.name == place), self._tracer)

    @contextmanager
    def at_start(self) -> Iterator[None]:
        """Write before every operator."""
        first = next(n for n in self._graph.nodes if n.op == "call_function")
        with self._graph.inserting_before(first):
            yield

    @contextmanager
    def after(self, names: Sequence[str]) -> Iterator[None]:
        """Write behind the last of these nodes, so that no value lives longer than it must."""
        last = max(names, key=self._order.__getitem__)
        with self._graph.inserting_before(self._copies[self._by_name[last]].next):
            yield

    def finish(self, outputs: Sequence[tuple[Port, Any]]) -> Entry:
        """The entry point with these outputs behind its own."""
        node = self._graph.output_node()
        node.args = ((*node.args[0], *(value.node for _, value in outputs)),)  # type: ignore[misc]
        ports = tuple(port for port, _ in outputs)
        return replace(
            self._entry,
            graph=self._graph,
            reads=self._reads,
            outputs=(*self._entry.outputs, *ports),
        )


def _is_same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors have one dtype, which `torch.equal` does not ask, shape and content."""
    return first.dtype == second.dtype and torch.equal(first, second)
