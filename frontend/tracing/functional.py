"""Rewrite operators that write to their arguments into ones that return what would be written."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Graph, Node

from prunec.frontend.tracing.errors import at

aten = torch.ops.aten

_PARTS = {
    aten.slice.Tensor: aten.slice_scatter.default,
    aten.select.int: aten.select_scatter.default,
}
"""Views of a part of a tensor, and the operator that puts a new part into the whole."""


class IrregularWriteError(Exception):
    """A tensor is written and the write would show in another value that is read later."""


def make_functional(graph: Graph) -> None:
    """Replace every operator that writes, in place; the graph needs its shapes and dtypes.

    Raises:
        IrregularWriteError: names the node; the graph is then half done.
    """
    if any(_writes(node) for node in graph.nodes):
        _Rewriter(graph).run()
        _join_parts(graph)


def _writes(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


class _Rewriter:
    """One walk through a graph in the order in which it runs."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes = list(graph.nodes)
        self._order = {node: place for place, node in enumerate(self._nodes)}
        self._readers = {node: list(node.users) for node in self._nodes}
        self._viewed = {node: node.args[0] for node in self._nodes if _is_view(node)}
        self._latest: dict[Node, Node] = {}

    def run(self) -> None:
        for node in self._nodes:
            written = node.args[0] if _writes(node) else None
            node.args, node.kwargs = torch.fx.map_arg(
                (node.args, node.kwargs), lambda n: self._latest.get(n, n)
            )
            if written is not None:
                self._require_unseen(node, written)
                with self._graph.inserting_before(node):
                    self._write(node, written, _returned(node))
        for node in reversed(self._nodes):
            if _writes(node):
                self._graph.erase_node(node)

    def _write(self, node: Node, target: Any, value: Node) -> None:
        """Let later readers of the target, and of all that it is a part of, read the value."""
        self._latest[node] = self._latest[target] = value
        while target.target in _PARTS:
            whole = self._viewed[target]
            if not _is_alike(target, whole):
                arguments = (self._latest.get(whole, whole), value, *target.args[1:])
                value = self._graph.call_function(_PARTS[target.target], arguments)
                _annotate(value, node, whole)
            self._latest[whole] = value
            target = whole

    def _require_unseen(self, node: Node, target: Any) -> None:
        """Raise if anything but the target and what it is a part of would show the write."""
        path, is_part = [target], True
        while path[-1] in self._viewed:
            is_part = is_part and path[-1].target in _PARTS
            path.append(self._viewed[path[-1]])
            if not is_part and self._is_read_after(path[-1], node):
                raise IrregularWriteError(f"{at(node)} writes to what another value shows, too")
        others = [v for v in self._views(path[-1]) if v not in path]
        if path[-1].op == "placeholder" or any(
            self._order[other] < self._order[node] and self._is_read_after(other, node)
            for other in others
        ):
            raise IrregularWriteError(f"{at(node)} writes to what another value shows, too")

    def _is_read_after(self, value: Node, node: Node) -> bool:
        return any(self._order[reader] > self._order[node] for reader in self._readers[value])

    def _views(self, root: Node) -> list[Node]:
        found = [root]
        for value in found:
            found += [r for r in self._readers[value] if self._viewed.get(r) is value]
        return found


def _is_view(node: Node) -> bool:
    """Whether the node's value may share memory with its first argument."""
    if node.target is operator.getitem:
        return _is_view(node.args[0])  # type: ignore[arg-type]
    if not isinstance(node.target, OpOverload) or _writes(node):
        return False
    schema = node.target._schema
    return bool(schema.arguments) and schema.arguments[0].alias_info is not None


def _returned(node: Node) -> Node:
    """Add the call that returns what the node writes; the node's arguments are up to date."""
    target, value = node.args[0], node.args[1] if len(node.args) > 1 else None
    if node.target is aten.copy_.default and _is_alike(target, value):
        return value  # type: ignore[return-value]
    schema = node.target._schema  # type: ignore[union-attr]
    packet = getattr(aten, schema.name.removeprefix("aten::").removesuffix("_"))
    functional = getattr(packet, schema.overload_name or "default")
    call = node.graph.call_function(functional, node.args, node.kwargs)
    _annotate(call, node, node)
    return call


def _annotate(call: Node, node: Node, shaped: Node) -> None:
    call.meta["val"] = shaped.meta["val"]
    if "source" in node.meta:
        call.meta["source"] = node.meta["source"]


def _is_alike(target: Any, value: Any) -> bool:
    if not isinstance(value, Node):
        return False
    left, right = target.meta["val"], value.meta["val"]
    sizes = [[str(size) for size in value.shape] for value in (left, right)]
    return left.dtype == right.dtype and sizes[0] == sizes[1]


def _join_parts(graph: Graph) -> None:
    """``slice_scatter(slice_scatter(_, a, dim, 0, n), b, dim, n, end)`` -> ``cat((a, b), dim)``."""
    for node in reversed(list(graph.nodes)):
        ordered = _parts(node)
        if ordered:
            with graph.inserting_before(node):
                joined = graph.call_function(aten.cat.default, (ordered, _dim(node)))
            joined.meta = dict(node.meta)
            node.replace_all_uses_with(joined)
    graph.eliminate_dead_code()


def _parts(node: Node) -> list[Node]:
    """The slices that fill the tensor from end to end, in order; none where they do not."""
    parts: dict[int, tuple[int, Node]] = {}
    place: Any = node
    while place.target is aten.slice_scatter.default and _dim(place) == _dim(node):
        start, end = _range(place)
        if start >= end or start in parts:
            return []
        parts[start] = end, place.args[1]
        place = place.args[0]
        while place.target is aten.slice.Tensor and _is_alike(place, place.args[0]):
            place = place.args[0]
    ordered, filled = [], 0
    while filled in parts:
        filled, part = parts[filled]
        ordered.append(part)
    is_whole = parts and len(ordered) == len(parts) and filled == node.meta["val"].shape[_dim(node)]
    return ordered if is_whole else []


def _dim(node: Node) -> int:
    dim: Any = node.args[2] if len(node.args) > 2 else 0
    return int(dim) % node.meta["val"].dim()


def _range(node: Node) -> tuple[int, int]:
    """Start and end of a slice of static size without steps; (0, 0) for any other."""
    length = node.meta["val"].shape[_dim(node)]
    start, end, step = (*node.args[3:], *[None] * 3)[:3]
    if step not in (None, 1) or not all(isinstance(i, int | None) for i in (start, end, length)):
        return 0, 0
    first, last, _ = slice(start, end).indices(length)
    return first, last
