"""Read the coupled structures, and the refusals, off the related axes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from prunec.passes.analysis.coupling.branches import Branches, find_branches
from prunec.passes.analysis.coupling.kinds import name_kinds, repeated_axes
from prunec.passes.analysis.coupling.nesting import find_outer_axes
from prunec.passes.analysis.coupling.site import Axes, Walk
from prunec.passes.analysis.coupling.walk import walk_program
from prunec.passes.ir import Program, Role
from prunec.passes.ir.axes import Atom, Refusal, leaves, positions_with, size

# Names must not change with a cut. A KV group that is left with one query head is a head, and
# the query heads of the only group that is left are heads.
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
        name: Stable under cuts: the family of its kind and its first weight, and a number where
            several begin in one weight.
        kind: What the graph shows it to be: ``ffn-channel``, ``kv-group``, ``head``,
            ``query-head-in-group``, ``qk-dim``, ``vo-dim``, ``residual``, ``expert``,
            ``expert-channel``, ``conv-channel``, ``kv-latent``, ``query-latent`` or ``layer``.
        index: Its place among the structures of its kind, in graph order.
        size: How many units it has.
        atom: The axis that they are.
        members: Every weight dimension that carries it; of a layer, the weights that go with it.
        unit_parameters: For each unit the parameters that go with it while all else stays;
            one number where all units have the same. Where one weight carries the axis in two
            dimensions, of the first unit: the next one finds less. Of layers that lie within
            another one each counts what it has inside: `Bill` tells what they take together.
        kv_bytes_per_unit: Cache bytes per token that go with a unit (of layers: on average).
        least: How many units have to stay.
        outer: The axis under which this one always appears, whose units may each keep their
            own units of this one; None where there is none.
    """

    name: str
    kind: str
    index: int
    size: int
    atom: Atom
    members: tuple[Member, ...]
    unit_parameters: tuple[int, ...]
    kv_bytes_per_unit: int
    least: int = 1
    outer: Atom | None = None

    @property
    def parameters_per_unit(self) -> int:
        """Parameters that go with one unit; of units of different size, on average."""
        return sum(self.unit_parameters) // len(self.unit_parameters)

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
            "least": self.least,
            "per_unit_of": None if self.outer is None else self.outer.size,
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
    branches: tuple[Branches, ...]

    def find(self, name: str) -> Structure | None:
        """The structure of this name, or None."""
        return next((s for s in self.structures if s.name == name), None)

    def of_kind(self, *kinds: str) -> list[Structure]:
        """The structures of these kinds, in order."""
        return [s for s in self.structures if s.kind in kinds]


def find_structures(program: Program) -> Coupling:
    """Find which dimensions shrink together, and which cannot and why.

    Works on fake tensors: no weight's value is read.

    Source: the dependency analysis is that of DepGraph (Fang et al. 2023, arXiv 2301.12900) in
    aim; here it runs on axes of tensors, not on layers.
    """
    walk, weight_axes = walk_program(program)
    members = _members(program, weight_axes)
    kinds = name_kinds(walk, weight_axes)
    kv_bytes = _kv_bytes(program, walk)
    least = _least(walk)
    repeated = repeated_axes(walk)
    outer = find_outer_axes(program, walk, weight_axes, kinds)
    structures: list[Structure] = []
    refusals: list[RefusedAxis] = []
    counts: dict[str, int] = defaultdict(int)
    names: dict[str, int] = defaultdict(int)
    for atom, found in members.items():
        if atom.size == 1:
            continue
        if atom.refusal is not None:
            refusals.append(RefusedAxis(atom.size, tuple(found), atom.refusal))
        elif atom not in kinds:
            reason = "nothing sums over it, so removing a unit would change a result"
            refusals.append(RefusedAxis(atom.size, tuple(found), Refusal(reason, found[0].weight)))
        else:
            kind = kinds[atom]
            structures.append(
                Structure(
                    name=_unused(f"{_family(kind, atom in repeated)}/{found[0].weight}", names),
                    kind=kind,
                    index=counts[kind],
                    size=atom.size,
                    atom=atom,
                    members=tuple(found),
                    unit_parameters=(_parameters_per_unit(program, weight_axes, atom, found),),
                    kv_bytes_per_unit=kv_bytes.get(atom, 0) // atom.size,
                    least=least.get(atom, 1),
                    outer=outer.get(atom),
                )
            )
            counts[kind] += 1
    branches = find_branches(program, walk)
    layers = tuple(_layers(found, index, names) for index, found in enumerate(branches))
    return Coupling((*structures, *layers), tuple(refusals), walk, weight_axes, branches)


def _family(kind: str, is_repeated: bool) -> str:
    if is_repeated and kind in ("query-head-in-group", *_FAMILY):
        return "query-head-in-group"
    return _FAMILY.get(kind, kind)


def _unused(name: str, names: dict[str, int]) -> str:
    """A name that no structure has yet.

    Args:
        name: The one to begin with.
        names: How many structures began with each name; counts this one.
    """
    names[name] += 1
    return name if names[name] == 1 else f"{name}#{names[name]}"


def _layers(branches: Branches, index: int, names: dict[str, int]) -> Structure:
    """The residual branches of one stream as a structure: each of them can be dropped whole.

    A stream inside a branch of another one may begin with the same weight.
    """
    found = (name for branch in branches.branches for name in branch.parameters)
    weights = list(dict.fromkeys(found))
    return Structure(
        name=_unused(f"layer/{weights[0]}", names),
        kind="layer",
        index=index,
        size=len(branches.branches),
        atom=branches.atom,
        members=tuple(Member(name, -1) for name in weights),
        unit_parameters=tuple(sum(b.parameters.values()) for b in branches.branches),
        kv_bytes_per_unit=sum(b.kv_bytes for b in branches.branches) // len(branches.branches),
    )


def _members(program: Program, weight_axes: Mapping[str, Axes]) -> dict[Atom, list[Member]]:
    """The parameters' dimensions in which each axis appears, in the order weights are read."""
    order = [name for entry in program.entries.values() for _, name in entry.weight_nodes()]
    members: dict[Atom, list[Member]] = defaultdict(list)
    for name in dict.fromkeys(order):
        for dim, axis in enumerate(weight_axes[name] if name not in program.buffers else ()):
            for atom in dict.fromkeys(leaves(axis)):
                members[atom].append(Member(name, dim))
    return members


def _least(walk: Walk) -> dict[Atom, int]:
    """How many units an operator needs: the best k of fewer than k cannot be chosen.

    Where the operator chooses among the units of several axes together (groups of experts and
    the experts in each), so many of each that any cut of all of them leaves enough.
    """
    result: dict[Atom, int] = {}
    for axis, needed in walk.floors:
        atoms = sorted({leaf for leaf in leaves(axis) if leaf.refusal is None}, key=_by_size)
        together = math.prod(atom.size for atom in atoms)
        left = -(-needed * together // size(axis))
        for atom in atoms:
            is_product = together <= size(axis)
            least = min(atom.size, left) if is_product else -(-needed * atom.size // size(axis))
            result[atom] = max(result.get(atom, 1), least)
            left = -(-left // least)
    return result


def _by_size(atom: Atom) -> tuple[int, int]:
    return -atom.size, atom.serial


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
        static = [a for a in walk.axes[node] if not any(leaf.is_dynamic for leaf in leaves(a))]
        total = item_bytes
        for axis in static:
            total *= size(axis)
        for axis in static:
            for atom in dict.fromkeys(leaves(axis)):
                result[atom] += total * positions_with(axis, atom) // size(axis)
    return result


def _parameters_per_unit(
    program: Program, weight_axes: Mapping[str, Axes], atom: Atom, members: list[Member]
) -> int:
    total = 0
    for member in members:
        axis = weight_axes[member.weight][member.dim]
        count = program.weights[member.weight].numel() // size(axis)
        total += count * positions_with(axis, atom) // atom.size
    return total
