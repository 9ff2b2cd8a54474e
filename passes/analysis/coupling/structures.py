"""Read the coupled structures, and the refusals, off the related axes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from prunec.passes.analysis.coupling.site import Axes, Use, Walk
from prunec.passes.analysis.coupling.walk import walk_program
from prunec.passes.ir import Program, Role
from prunec.passes.ir.axes import Atom, Refusal, leaves, size

# A KV group that is left with one query head is a head: its name must not change with that.
_FAMILY = {"kv-group": "heads", "head": "heads"}


@dataclass(frozen=True)
class Member:
    """A dimension of a weight that carries a structure's units."""

    weight: str
    dim: int


@dataclass(frozen=True, eq=False)
class Structure:
    """Units that can only be removed together, everywhere they appear.

    Attributes:
        name: Stable under cuts: the family of its kind and its first weight.
        kind: What the graph shows it to be: ``ffn-channel``, ``kv-group``, ``head``,
            ``query-head-in-group``, ``qk-dim``, ``vo-dim`` or ``residual``.
        index: Its place among the structures of its kind, in graph order.
        size: How many units it has.
        atom: The axis that they are.
        members: Every weight dimension that carries it.
        parameters_per_unit: Parameters that go with one unit while all else stays.
        kv_bytes_per_unit: Cache bytes per token that go with it.
    """

    name: str
    kind: str
    index: int
    size: int
    atom: Atom
    members: tuple[Member, ...]
    parameters_per_unit: int
    kv_bytes_per_unit: int

    def to_json(self) -> dict[str, Any]:
        """For machines: everything but the axis itself."""
        return {
            "name": self.name,
            "kind": self.kind,
            "index": self.index,
            "size": self.size,
            "members": [{"weight": m.weight, "dim": m.dim} for m in self.members],
            "parameters_per_unit": self.parameters_per_unit,
            "kv_bytes_per_unit": self.kv_bytes_per_unit,
        }


@dataclass(frozen=True)
class RefusedAxis:
    """An axis of some weights that cannot be cut, and why."""

    size: int
    members: tuple[Member, ...]
    refusal: Refusal


@dataclass(frozen=True)
class Coupling:
    """The result of the dependency analysis of one program."""

    structures: tuple[Structure, ...]
    refusals: tuple[RefusedAxis, ...]
    walk: Walk
    weight_axes: Mapping[str, Axes]

    def find(self, name: str) -> Structure | None:
        """The structure of this name, or None."""
        return next((s for s in self.structures if s.name == name), None)

    def of_kind(self, *kinds: str) -> list[Structure]:
        """The structures of these kinds, in order."""
        return [s for s in self.structures if s.kind in kinds]


def find_structures(program: Program) -> Coupling:
    """Find which dimensions shrink together, and which cannot and why.

    Works on fake tensors: no weight's value is read.
    """
    walk, weight_axes = walk_program(program)
    members = _members(program, weight_axes)
    kinds = _kinds(walk)
    kv_bytes = _kv_bytes(program, walk)
    structures: list[Structure] = []
    refusals: list[RefusedAxis] = []
    counts: dict[str, int] = defaultdict(int)
    for atom, found in members.items():
        if atom.refusal is not None:
            refusals.append(RefusedAxis(atom.size, tuple(found), atom.refusal))
        elif atom not in kinds:
            reason = "nothing sums over it, so removing a unit would change a result"
            refusals.append(RefusedAxis(atom.size, tuple(found), Refusal(reason, found[0].weight)))
        elif atom.size > 1:
            kind = kinds[atom]
            structures.append(
                Structure(
                    name=f"{_FAMILY.get(kind, kind)}/{found[0].weight}",
                    kind=kind,
                    index=counts[kind],
                    size=atom.size,
                    atom=atom,
                    members=tuple(found),
                    parameters_per_unit=_parameters_per_unit(program, atom, found),
                    kv_bytes_per_unit=kv_bytes.get(atom, 0) // atom.size,
                )
            )
            counts[kind] += 1
    return Coupling(tuple(structures), tuple(refusals), walk, weight_axes)


def _members(program: Program, weight_axes: Mapping[str, Axes]) -> dict[Atom, list[Member]]:
    """The parameters' dimensions in which each axis appears, in the order weights are read."""
    order = [name for entry in program.entries.values() for name in entry.reads.values()]
    members: dict[Atom, list[Member]] = defaultdict(list)
    for name in dict.fromkeys(order):
        for dim, axis in enumerate(weight_axes[name] if name not in program.buffers else ()):
            for atom in dict.fromkeys(leaves(axis)) if axis is not None else ():
                members[atom].append(Member(name, dim))
    return members


def _kinds(walk: Walk) -> dict[Atom, str]:
    """Name each axis by what the graph does with it."""
    uses: dict[Use, set[Atom]] = {use: set() for use in Use}
    first_consumed: dict[Atom, int] = {}
    last_produced: dict[Atom, int] = {}
    order = {node: place for place, node in enumerate(walk.axes)}
    for use, axis, node in walk.uses:
        for atom in leaves(axis):
            uses[use].add(atom)
            if use is Use.CONSUMED:
                first_consumed.setdefault(atom, order[node])
            if use is Use.PRODUCED:
                last_produced[atom] = order[node]
    grouped = _atoms_beside_repeats(walk, uses[Use.HEADS] & uses[Use.REPEATED])
    kinds: dict[Atom, str] = {}
    for atom in uses[Use.CONSUMED] | uses[Use.KEY_WIDTH]:
        if atom in uses[Use.HEADS] & uses[Use.REPEATED]:
            kinds[atom] = "query-head-in-group"
        elif atom in uses[Use.HEADS]:
            kinds[atom] = "kv-group" if atom in grouped else "head"
        elif atom in uses[Use.KEY_WIDTH]:
            kinds[atom] = "qk-dim"
        elif atom in uses[Use.VALUE_WIDTH]:
            kinds[atom] = "vo-dim"
        elif last_produced.get(atom, -1) > first_consumed.get(atom, 0):
            kinds[atom] = "residual"
        else:
            kinds[atom] = "ffn-channel"
    return kinds


def _atoms_beside_repeats(walk: Walk, repeats: set[Atom]) -> set[Atom]:
    """Head axes whose units each serve several query heads."""
    return {
        atom
        for use, axis, _ in walk.uses
        if use is Use.HEADS and any(leaf in repeats for leaf in leaves(axis))
        for atom in leaves(axis)
    }


def _cache_nodes(program: Program) -> Iterator[tuple[Node, int]]:
    """Each cache input with the bytes of one number in it."""
    for entry in program.entries.values():
        for port, node in zip(entry.inputs, entry.input_nodes(), strict=True):
            if port.role is Role.CACHE:
                yield node, port.dtype.itemsize


def _kv_bytes(program: Program, walk: Walk) -> dict[Atom, int]:
    """Cache bytes per token of all caches that carry the axis."""
    result: dict[Atom, int] = defaultdict(int)
    for node, item_bytes in _cache_nodes(program):
        axes = [a for a in walk.axes[node] if a is not None]
        total = item_bytes
        for axis in axes:
            total *= size(axis)
        for atom in {leaf for axis in axes for leaf in leaves(axis)}:
            result[atom] += total
    return result


def _parameters_per_unit(program: Program, atom: Atom, members: list[Member]) -> int:
    return sum(program.weights[m.weight].numel() // atom.size for m in members)
