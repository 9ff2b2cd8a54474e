"""How many operations a program does for one token, or for one input where there are no tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.contraction_table import Dim, Product, products
from prunec.passes.analysis.coupling.walk import CHOOSES_FROM_FIRST
from prunec.passes.analysis.remaining import Remaining
from prunec.passes.ir import Entry, Program, Role
from prunec.passes.ir.shapes import TAKES_ONLY_DTYPE_FROM_SECOND, is_dynamic


@dataclass(frozen=True)
class Run:
    """A run of an entry point with inputs of certain sizes.

    Attributes:
        entry: The entry point.
        sizes: What each label of a dynamic size stands for. A size that only the values of
            tensors tell counts as one.
    """

    entry: Entry
    sizes: Mapping[str, int]

    def operations(self, product: Product) -> int:
        """A multiplication and an addition for each two numbers that are multiplied."""
        return 2 * math.prod(map(self.size, (*product.batch, *product.matrix)))

    def size(self, dim: Dim) -> int:
        """The size of a dimension."""
        size = dim[0].meta["val"].shape[dim[1]]
        return self._value(size.node.expr) if is_dynamic(size) else int(size)

    def _value(self, size: Any) -> int:
        if size not in self._known:
            found = {symbol: self._symbols.get(symbol, 1) for symbol in size.free_symbols}
            self._known[size] = int(size.subs(found))
        return self._known[size]

    @cached_property
    def _known(self) -> dict[Any, int]:
        return {}

    @cached_property
    def _symbols(self) -> dict[Any, int]:
        """The size behind each symbol of the graph."""
        return {
            size.node.expr: self.sizes[label]
            for port, node in zip(self.entry.inputs, self.entry.input_nodes(), strict=True)
            for label, size in zip(port.shape, node.meta["val"].shape, strict=True)
            if isinstance(label, str) and is_dynamic(size)
        }


_TRIED = ((1, 1024), (1024, 1024), (1024, 16384))
"""How many tokens the counted run has, and pixels or samples along each dynamic extent."""


def reference_run(entry: Entry) -> Run:
    """The run whose operations are counted: of one token of one sequence, its cache empty.

    Where the inputs are no tokens it is one row of a batch. Sizes that the trace fixed stay. An
    image or a sound whose extent is dynamic has 1,024 pixels or samples along it, or 16,384 where
    a window needs more. Where the program takes several tokens together there are 1,024 of them.
    """
    inputs = [port for port in entry.inputs if port.role is not Role.CACHE]
    rows = dict.fromkeys(_labels(port.shape[:1] for port in inputs), 1)
    empty = dict.fromkeys(_labels(port.shape for port in entry.ports(Role.CACHE)[0]), 0)
    of_tokens = set(_labels(p.shape for p in inputs if not p.dtype.is_floating_point))
    for tokens, extent in _TRIED:
        found = {s: tokens if s in of_tokens else extent for s in _labels(p.shape for p in inputs)}
        run = Run(entry, empty | found | rows)
        dims = (d for n in entry.graph.nodes for p in products(n) for d in (*p.batch, *p.matrix))
        if all(run.size(dim) > 0 for dim in dims):
            break
    return run


def _labels(shapes: Iterable[Sequence[int | str]]) -> Iterator[str]:
    return (size for shape in shapes for size in shape if isinstance(size, str))


def counted_products(program: Program, left: Remaining) -> Iterator[Product]:
    """The sums of products that are counted, in graph order.

    Left out are those with no parameter behind them (tables made of positions), and products of
    two activations whose sizes are dynamic: attention over a text grows with the text, while
    attention over the patches of an image costs the same for every image.

    Args:
        program: Says which weights are parameters.
        left: What is left of one of its entry points.
    """
    learned, fed = _origins(program, left)
    for node in left.nodes:
        for product in products(node):
            right, *others = map(left.value, (product.right, *product.left))
            if not learned.intersection((right, *others)):
                continue
            is_of_activations = right in fed and bool(fed.intersection(others))
            if not (is_of_activations and any(map(_is_dynamic, product.matrix))):
                yield product


def _is_dynamic(dim: Dim) -> bool:
    return is_dynamic(dim[0].meta["val"].shape[dim[1]])


def _origins(program: Program, left: Remaining) -> tuple[set[Node], set[Node]]:
    """The nodes that a parameter stands behind, and those that depend on the inputs' values."""
    learned, fed = _sources(program, left.entry)
    for node in left.nodes:
        if not isinstance(node.meta.get("val"), (torch.Tensor, list, tuple)):
            continue  # a size tells nothing of the values
        operands = left.operands(node)
        values = operands[:1] if node.target in TAKES_ONLY_DTYPE_FROM_SECOND else operands
        if learned.intersection(values):
            learned.add(node)
        # Matrices stay weights whatever they are chosen by.
        if fed.intersection(operands[:1] if node.target in CHOOSES_FROM_FIRST else values):
            fed.add(node)
    return learned, fed


def _sources(program: Program, entry: Entry) -> tuple[set[Node], set[Node]]:
    learned = {node for node, name in entry.weight_nodes() if name not in program.buffers}
    fed: set[Node] = set()
    for port, node in zip(entry.inputs, entry.input_nodes(), strict=True):
        if port.role in (Role.CACHE, Role.EXPERTS):
            learned.add(node)
        if port.role is not Role.EXPERTS:
            fed.add(node)
    return learned, fed
