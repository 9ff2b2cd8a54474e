"""A private copy of an entry point that the lowering edits in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Graph, Node

from prunec.passes.ir import Entry, Port, Program, propagate
from prunec.passes.ir.shapes import copy_graph

aten = torch.ops.aten

CAST = aten._to_copy.default
"""How a draft spells every change of dtype: the one that the exporter translates."""

SDPA = aten.scaled_dot_product_attention.default


@dataclass
class Draft:
    """One graph on its way to ONNX, with the weights that it reads.

    Attributes:
        graph: A copy; the program's own graph is never touched.
        reads: Placeholder name to weight name, in any order.
        weights: The tensors by name; a rewrite may put another view in place of one.
        inputs: One port for each placeholder that is not a weight.
        outputs: One port for each value of the output node.
    """

    graph: Graph
    reads: dict[str, str]
    weights: dict[str, torch.Tensor]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @classmethod
    def of(cls, program: Program, name: str | None = None) -> Draft:
        """Copy an entry point by name; the only one where none is given.

        Raises:
            ProgramError: there is none of this name, or there are several and none is named.
        """
        entry = program.main if name is None else program.entry(name)
        graph, _ = copy_graph(entry.graph)
        weights = {name: program.weights[name] for _, name in entry.weight_nodes()}
        return cls(graph, dict(entry.reads), weights, entry.inputs, entry.outputs)

    def entry(self) -> Entry:
        """The draft as an entry point, which shares the graph."""
        return Entry(self.graph, self.reads, self.inputs, self.outputs)

    def propagate(self) -> None:
        """Give every node its shape and dtype anew."""
        propagate(self.entry(), self.weights)

    def labels(self) -> dict[str, str]:
        """The label of each symbolic size that a port has, by the size as text."""
        entry = self.entry()
        ports = zip(
            (*self.inputs, *self.outputs),
            (*entry.input_nodes(), *entry.output_nodes()),
            strict=True,
        )
        return {
            str(size): label
            for port, node in ports
            for size, label in zip(node.meta["val"].shape, port.shape, strict=True)
            if isinstance(label, str)
        }

    def is_functional(self) -> bool:
        """Whether no operator writes to its arguments."""
        targets = (n.target for n in self.graph.nodes if n.op == "call_function")
        return not any(isinstance(t, OpOverload) and t._schema.is_mutable for t in targets)

    def drop_unread_weights(self) -> None:
        """Remove the placeholders of weights that no node reads."""
        for node, name in list(self.entry().weight_nodes()):
            if not node.users:
                del self.reads[node.name], self.weights[name]
                self.graph.erase_node(node)


def calls(value: Any, *targets: Any) -> bool:
    """Whether a value of the graph is a call of one of these operators."""
    return isinstance(value, Node) and value.op == "call_function" and value.target in targets


def replace(node: Node, by: Node) -> None:
    """Let every reader of `node` read `by`, and erase the node."""
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def same_shape(first: Node, second: Node) -> bool:
    """Whether two tensors have the same static and symbolic sizes."""
    return [str(s) for s in first.meta["val"].shape] == [str(s) for s in second.meta["val"].shape]


def insert(before: Node, target: Any, *args: Any, **kwargs: Any) -> Node:
    """Add a call in front of a node, at the same source line, with its shape and dtype."""
    with before.graph.inserting_before(before):
        node = before.graph.call_function(target, args, kwargs)
    if "source" in before.meta:
        node.meta["source"] = before.meta["source"]
    values = torch.fx.map_arg((args, kwargs), lambda n: n.meta["val"])
    mode = next(a.meta["val"].fake_mode for a in node.all_input_nodes if "val" in a.meta)
    with mode, torch.no_grad():
        node.meta["val"] = target(*values[0], **values[1])
    return node


def same_dtype(*nodes: Node) -> bool:
    """Whether these tensors have one element type."""
    return len({n.meta["val"].dtype for n in nodes}) == 1
