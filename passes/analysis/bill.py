"""What a program weighs after a cut, without cutting it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import astuple, fields

import numpy as np
import numpy.typing as npt
from torch.fx import Node

from prunec.passes.analysis.contraction_table import Dim, Product, products
from prunec.passes.analysis.cost import Cost, block_weights, decoding_entry
from prunec.passes.analysis.coupling import Coupling
from prunec.passes.analysis.index_tables import index_table_bytes
from prunec.passes.analysis.operations import counted_products, reference_run
from prunec.passes.analysis.polynomial import (
    Polynomial,
    Polynomials,
    kept_positions,
    multiply,
)
from prunec.passes.analysis.remaining import Remaining, whole, without
from prunec.passes.ir import Port, Program, Role
from prunec.passes.ir.axes import Atom, Axis
from prunec.passes.ir.selection import PerUnit, Selection, kept_count
from prunec.passes.ir.shapes import example_size

Dropped = frozenset[tuple[Atom, int]]
"""Branches that go: the axis that counts the branches of a stream, and which of them."""
SIZES = tuple(field.name for field in fields(Cost))


class Bill:
    """The sizes of a program after any selection, exactly as `measure` finds them after the cut.

    Every weight has as many numbers as a polynomial of the counts of units says: one factor for
    each dimension, a sum in it for segments side by side. So whatever overlaps (the residual
    width and FFN channels, an axis in two dimensions of one weight, tied weights) comes out
    right, and one evaluation takes microseconds. Dropped branches change which weights there
    are; that is worked out once for each set of them.
    """

    def __init__(self, program: Program, coupling: Coupling) -> None:
        self.program = program
        self.coupling = coupling
        self.places = {
            s.atom: place for place, s in enumerate(coupling.structures) if s.kind != "layer"
        }
        """Where in an array of counts each axis stands; the count of `layer` is not read."""
        self.whole = np.array([s.size for s in coupling.structures], dtype=np.int64)
        self._cache_ports = _cache_ports(program)
        self._weights = list(program.weights)
        self._decoding = decoding_entry(program)
        self._run = reference_run(self._decoding)
        found = (p for node in self._decoding.graph.nodes for p in products(node))
        self._products = list(dict.fromkeys(found))
        self._parts = Polynomials.of(
            [self._weight(name) for name in self._weights]
            + [self._port(port, node) for port, node in self._cache_ports]
            + [self._operations(product) for product in self._products],
            len(self.whole),
        )
        self._known: dict[Dropped, Polynomials] = {}

    def sizes(
        self, counts: npt.NDArray[np.int64], dropped: Dropped = frozenset()
    ) -> npt.NDArray[np.int64]:
        """The sizes for these counts of units, in the order of `SIZES`.

        Without the index tables that the cut of shared operands adds: see `cost`.

        Args:
            counts: [structures]: how many units stay of each, in the order of the coupling.
            dropped: The branches that go.
        """
        if dropped not in self._known:
            self._known[dropped] = self._parts.combined(self._readings(dropped))
        return self._known[dropped].at(counts)

    def cost(self, selection: Selection) -> Cost:
        """The sizes after this selection."""
        counts = self.whole.copy()
        gone: set[tuple[Atom, int]] = set()
        cut = {atom: stays for atom, stays in selection.items() if kept_count(stays) < atom.size}
        for atom, stays in cut.items():
            if atom in self.places:
                counts[self.places[atom]] = kept_count(stays)
            elif not isinstance(stays, PerUnit):
                gone |= {(atom, unit) for unit in set(range(atom.size)) - set(map(int, stays))}
        dropped = frozenset(gone)
        found = dict(zip(SIZES, map(int, self.sizes(counts, dropped)), strict=True))
        found["weight_bytes"] += self.table_bytes(cut, dropped)
        return Cost(**found)

    def table_bytes(self, selection: Selection, dropped: Dropped = frozenset()) -> int:
        """Bytes of the index tables by which the cut gathers operands that many share."""
        users = {n for left in self._remaining(dropped) for n in left.nodes}
        return index_table_bytes(self.coupling, selection, users)

    def _weight(self, name: str) -> Polynomial:
        return multiply(kept_positions(a, self.places) for a in self.coupling.weight_axes[name])

    def _port(self, port: Port, node: Node) -> Polynomial:
        axes = self.coupling.walk.axes[node]
        static = [a for a, s in zip(axes, port.shape, strict=True) if isinstance(s, int)]
        return multiply(kept_positions(axis, self.places) for axis in static)

    def _operations(self, product: Product) -> Polynomial:
        """Of the dynamic sizes those of the run that is counted, not the examples."""
        dims = (*product.batch, *product.matrix)
        found = multiply(kept_positions(self._axis(dim), self.places) for dim in dims)
        examples = math.prod(example_size(node.meta["val"].shape[dim]) for node, dim in dims)
        counted = self._run.operations(product)
        return Counter({term: factor * counted // examples for term, factor in found.items()})

    def _axis(self, dim: Dim) -> Axis:
        return self.coupling.walk.axes[dim[0]][dim[1]]

    def _remaining(self, dropped: Dropped) -> list[Remaining]:
        """The entry points; only a program with a single one has branches."""
        if not dropped:
            return [whole(entry) for entry in self.program.entries.values()]
        branches = [
            branch
            for found in self.coupling.branches
            for unit, branch in enumerate(found.branches)
            if (found.atom, unit) in dropped
        ]
        return [without(self.program.main, branches)]

    def _readings(self, dropped: Dropped) -> npt.NDArray[np.int64]:
        """[sizes, weights, cache ports and products]: how often each counts in each size."""
        entries = self._remaining(dropped)
        block = block_weights(self.program, entries)
        live = {n for left in entries for n in left.nodes}
        read = {
            name for left in entries for node, name in left.entry.weight_nodes() if node in live
        }
        columns = [
            self._weight_reading(name, name in block) if name in read or not dropped else _NOTHING
            for name in self._weights
        ] + [
            _cache_reading(port.dtype.itemsize) if node in live or not dropped else _NOTHING
            for port, node in self._cache_ports
        ]
        (decoding,) = (left for left in entries if left.entry is self._decoding)
        counted = Counter(counted_products(self.program, decoding))
        columns += [_product_reading(counted[product]) for product in self._products]
        return np.array([astuple(c) for c in columns], dtype=np.int64).T

    def _weight_reading(self, name: str, is_block: bool) -> Cost:
        return Cost(
            parameters=int(name not in self.program.buffers),
            block_parameters=int(is_block),
            weight_bytes=self.program.weights[name].element_size(),
            kv_bytes_per_token=0,
            flops_per_token=0,
        )


_NOTHING = Cost(0, 0, 0, 0, 0)


def _product_reading(times: int) -> Cost:
    return Cost(0, 0, 0, 0, flops_per_token=times)


def _cache_reading(item_bytes: int) -> Cost:
    return Cost(0, 0, 0, kv_bytes_per_token=item_bytes, flops_per_token=0)


def _cache_ports(program: Program) -> list[tuple[Port, Node]]:
    entry = next(iter(program.entries.values()))
    return [
        (port, node)
        for port, node in zip(entry.inputs, entry.input_nodes(), strict=True)
        if port.role is Role.CACHE
    ]
