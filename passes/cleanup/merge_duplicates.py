"""Merge nodes that compute the same value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Entry, Program
from prunec.passes.ir.shapes import copy_graph


@dataclass(frozen=True)
class MergeDuplicates(Pass):
    """Let nodes with equal operator and operands be one, and equal dynamic sizes too.

    Changes: the number of nodes.
    Keeps: every output, bit for bit.
    """

    name = "merge-duplicates"
    is_exact = True

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        entries = {name: _merge(entry) for name, entry in program.entries.items()}
        if all(entries[name] is program.entries[name] for name in entries):
            return program
        return replace(program, entries=entries)


def _merge(entry: Entry) -> Entry:
    graph, _ = copy_graph(entry.graph)
    seen: dict[Any, Node] = {}
    merged = 0
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        first = seen.setdefault(_key(node), node)
        if first is not node:
            node.replace_all_uses_with(first)
            graph.erase_node(node)
            merged += 1
    return replace(entry, graph=graph) if merged else entry


def _key(node: Node) -> Any:
    value = node.meta.get("val")
    if isinstance(value, torch.SymInt):
        return value.node.expr  # inputs that share a label have equal sizes: the ports promise it
    return node.target, _frozen(node.args), _frozen(node.kwargs)


def _frozen(value: Any) -> Any:
    """A hashable form in which 1, 1.0 and True differ, as they do to an operator."""
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(v) for v in value)
    if isinstance(value, dict):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items()))
    return type(value), value
