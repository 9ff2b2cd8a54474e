"""Axis structures: what a dimension of static size is made of, and which must shrink together.

A dimension starts as an `Atom`. A view that splits it makes it a `Product`; a cat or a slice
makes it a `Concat`. `unify` says that two dimensions are one, by common refinement. Atoms that
end up in one class shrink together. Everything here is independent of any operator.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

_serial = itertools.count()


@dataclass(frozen=True)
class Refusal:
    """Why an axis cannot be cut.

    Attributes:
        reason: One sentence for a person.
        node: The graph node that shows it.
        source: The model's source line, where the trace has it.
    """

    reason: str
    node: str
    source: str = ""


@dataclass(eq=False)
class Atom:
    """An axis that nothing has split: a variable that may be bound to a structure later."""

    size: int
    bound: Axis | None = None
    refusal: Refusal | None = None
    is_dynamic: bool = False
    serial: int = field(default_factory=lambda: next(_serial))


@dataclass(frozen=True, eq=False)
class Product:
    """A mixed-radix axis, outermost part first: heads × head_dim."""

    parts: tuple[Axis, ...]


@dataclass(frozen=True, eq=False)
class Concat:
    """Segments side by side: query | key | value."""

    parts: tuple[Axis, ...]


Axis = Atom | Product | Concat


class RefinementError(Exception):
    """Two structures have no common refinement."""


def product(parts: Sequence[Axis]) -> Axis:
    """The product of these parts, flat and without parts of size 1."""
    flat = [f for part in parts for f in factors(part) if size(f) != 1]
    if not flat:
        return Atom(1)
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


def concat(parts: Sequence[Axis]) -> Axis:
    """The concatenation of these parts, flat and without empty ones."""
    flat = [s for part in parts for s in segments(part) if size(s)]
    if not flat:
        return Atom(0)
    return flat[0] if len(flat) == 1 else Concat(tuple(flat))


def resolve(axis: Axis) -> Axis:
    """Follow bindings to an unbound atom or a structure."""
    while isinstance(axis, Atom) and axis.bound is not None:
        if isinstance(axis.bound, Atom) and axis.bound.bound is not None:
            axis.bound = axis.bound.bound  # shorten the path for the next walk
        axis = axis.bound
    return axis


def size(axis: Axis) -> int:
    """How many positions the axis has."""
    axis = resolve(axis)
    if isinstance(axis, Atom):
        return axis.size
    sizes = [size(p) for p in axis.parts]
    return sum(sizes) if isinstance(axis, Concat) else int(np.prod(sizes))


def factors(axis: Axis) -> list[Axis]:
    """The parts of a product, outermost first; the axis alone where it is none."""
    axis = resolve(axis)
    return [f for p in axis.parts for f in factors(p)] if isinstance(axis, Product) else [axis]


def segments(axis: Axis) -> list[Axis]:
    """The parts of a concatenation in order; the axis alone where it is none."""
    axis = resolve(axis)
    return [s for p in axis.parts for s in segments(p)] if isinstance(axis, Concat) else [axis]


def leaves(axis: Axis) -> Iterator[Atom]:
    """The unbound atoms that the axis is made of, with repetitions, in order."""
    axis = resolve(axis)
    if isinstance(axis, Atom):
        yield axis
    else:
        for part in axis.parts:
            yield from leaves(part)


def refuse(axis: Axis, refusal: Refusal) -> None:
    """Mark every part as one that cannot be cut; the first reason stays."""
    for atom in leaves(axis):
        atom.refusal = atom.refusal or refusal


def unify(a: Axis, b: Axis) -> None:
    """Make two axes of one size the same, splitting either where the other is split.

    Raises:
        RefinementError: their parts do not fit into one another.
    """
    a, b = resolve(a), resolve(b)
    if a is b or size(a) == 1:
        return
    if isinstance(b, Atom) and (not isinstance(a, Atom) or a.serial < b.serial):
        a, b = b, a  # bind the atom, and of two atoms the younger
    if isinstance(a, Atom):
        _bind(a, b)
    elif isinstance(a, Product) and isinstance(b, Product):
        _unify_products(factors(a), factors(b))
    elif isinstance(a, Concat):
        _unify_segments(segments(a), b)
    else:
        _unify_segments(segments(b), a)


def _bind(atom: Atom, axis: Axis) -> None:
    if any(leaf is atom for leaf in leaves(axis)):
        raise RefinementError(f"an axis of {atom.size} would contain itself")
    atom.bound = axis
    if atom.refusal is not None:
        refuse(axis, atom.refusal)


def _unify_products(a: list[Axis], b: list[Axis]) -> None:
    """Walk both from the innermost part outwards."""
    while a and b:
        inner = min(size(a[-1]), size(b[-1]))
        for left, right in zip(peel(a, inner), peel(b, inner), strict=True):
            unify(left, right)


def _unify_segments(parts: list[Axis], other: Axis) -> None:
    rest = other
    for position, part in enumerate(parts):
        if position == len(parts) - 1:
            unify(part, rest)
        else:
            front, rest = split_front(rest, size(part))
            unify(part, front)


def peel(parts: list[Axis], inner: int) -> list[Axis]:
    """Take parts of a product from the inside until they make `inner` positions.

    Removes them from `parts`, splitting the last one taken where it is too large.

    Raises:
        RefinementError: no boundary falls there.
    """
    taken: list[Axis] = []
    while inner > 1:
        parts[-1:] = factors(parts[-1])
        last = parts.pop()
        if inner % size(last) == 0:
            taken.insert(0, last)
            inner //= size(last)
        else:
            outer, last = split_inner(last, inner)
            parts.append(outer)
            taken.insert(0, last)
            inner = 1
    return taken


def split_inner(axis: Axis, inner: int) -> tuple[Axis, Axis]:
    """Split one axis into outer × inner.

    Raises:
        RefinementError: `inner` does not divide the axis or one of its segments.
    """
    axis = resolve(axis)
    if size(axis) % inner:
        raise RefinementError(f"an axis of {size(axis)} does not split into groups of {inner}")
    if inner in (1, size(axis)):
        return (axis, Atom(1)) if inner == 1 else (Atom(1), axis)
    if isinstance(axis, Atom):
        outer_atom, inner_atom = _part(axis, axis.size // inner), _part(axis, inner)
        axis.bound = Product((outer_atom, inner_atom))
        return outer_atom, inner_atom
    if isinstance(axis, Product):
        parts = factors(axis)
        taken = peel(parts, inner)
        return product(parts), product(taken)
    halves = [split_inner(segment, inner) for segment in segments(axis)]
    for _, other in halves[1:]:
        unify(halves[0][1], other)
    return concat([outer for outer, _ in halves]), halves[0][1]


def split_front(axis: Axis, front: int) -> tuple[Axis, Axis]:
    """Split one axis into its first `front` positions and the rest.

    Raises:
        RefinementError: the boundary falls inside a group that is repeated.
    """
    axis = resolve(axis)
    if front in (0, size(axis)):
        return (axis, Atom(0)) if front else (Atom(0), axis)
    if isinstance(axis, Atom):
        first, rest = _part(axis, front), _part(axis, axis.size - front)
        axis.bound = Concat((first, rest))
        return first, rest
    if isinstance(axis, Concat):
        return _split_segments(segments(axis), front)
    outermost, *inner = factors(axis)
    stride = size(axis) // size(outermost)
    if front % stride:
        raise RefinementError(f"position {front} falls inside a group of {stride}")
    outer_first, outer_rest = split_front(outermost, front // stride)
    return product([outer_first, *inner]), product([outer_rest, *inner])


def _split_segments(parts: list[Axis], front: int) -> tuple[Axis, Axis]:
    taken: list[Axis] = []
    while parts and front >= size(parts[0]):
        taken.append(parts.pop(0))
        front -= size(taken[-1])
    if front:
        first, rest = split_front(parts.pop(0), front)
        taken.append(first)
        parts.insert(0, rest)
    return concat(taken), concat(parts)


def _part(atom: Atom, part_size: int) -> Atom:
    return Atom(part_size, refusal=atom.refusal, is_dynamic=atom.is_dynamic)


def fresh_copy(axis: Axis, memo: dict[Atom, Atom] | None = None) -> Axis:
    """The same structure with atoms of its own, tied to one another as the original's are."""
    memo = {} if memo is None else memo
    axis = resolve(axis)
    if isinstance(axis, Atom):
        if axis not in memo:
            refusal = axis.refusal if axis.is_dynamic else None
            memo[axis] = Atom(axis.size, refusal=refusal, is_dynamic=axis.is_dynamic)
        return memo[axis]
    return type(axis)(tuple(fresh_copy(p, memo) for p in axis.parts))


def positions_with(axis: Axis, atom: Atom) -> int:
    """How many positions of the axis belong to a unit of the atom."""
    axis = resolve(axis)
    if isinstance(axis, Atom):
        return axis.size if axis is atom else 0
    if isinstance(axis, Concat):
        return sum(positions_with(part, atom) for part in axis.parts)
    without = [size(part) - positions_with(part, atom) for part in axis.parts]
    return size(axis) - int(np.prod(without))
