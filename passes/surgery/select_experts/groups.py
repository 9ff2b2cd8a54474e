"""Which weights carry the units of a structure, and how decode reads them once few are chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from prunec.passes.analysis.contractions import Contraction, contractions
from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.contract import PassError
from prunec.passes.ir import Program
from prunec.passes.ir.axes import Atom, leaves
from prunec.passes.surgery.select_experts.positions import Positions, find_positions


@dataclass(frozen=True)
class Part:
    """A weight that carries the units in one of its dimensions.

    Attributes:
        weight: Its name.
        dim: The dimension.
        positions: Where the units lie along it.
        readers: The contractions that multiply with it; none where it is no matrix of one.
        summed: The stored dimension that these sum over: 1 as a linear layer has it, or 0.
    """

    weight: str
    dim: int
    positions: Positions
    readers: tuple[Contraction, ...]
    summed: int

    @property
    def is_matrix(self) -> bool:
        """Whether contractions read it, and it is given to decode as [out, in]."""
        return bool(self.readers)

    @property
    def sums_units(self) -> bool:
        """Whether its contractions sum over the units; else they produce them."""
        return self.is_matrix and self.dim == self.summed

    @property
    def inputs(self) -> tuple[Contraction, ...]:
        """The readers without those that are given what an earlier one is given."""
        by_operand = {reader.node.args[reader.operand]: reader for reader in reversed(self.readers)}
        return tuple(reversed(by_operand.values()))

    @property
    def port(self) -> str:
        """The name under which the chosen part is handed from prefill to decode."""
        return f"experts.{self.weight}"


@dataclass(frozen=True)
class Group:
    """A structure of which the prompt chooses units.

    Attributes:
        index: Its place among those of the program.
        structure: Which one.
        count: How many units are chosen.
        parts: Every weight that carries them.
    """

    index: int
    structure: Structure
    count: int
    parts: tuple[Part, ...]

    @property
    def summing(self) -> tuple[Part, ...]:
        """The matrices that sum over the units."""
        return tuple(part for part in self.parts if part.sums_units)

    @property
    def indices_port(self) -> str:
        """The output of prefill that says which units were chosen."""
        return f"experts.{self.index}.indices"


def find_groups(
    program: Program, coupling: Coupling, counts: Sequence[tuple[Structure, int]]
) -> list[Group]:
    """The weights of every structure of which fewer than all units are chosen.

    Args:
        program: With one entry point.
        coupling: Found in it.
        counts: Structures, in order, with how many units each is to choose.

    Raises:
        PassError: a weight carries units in two ways at once, or is read in two ways.
    """
    own = _weights_by_atom(coupling, {structure.atom: structure for structure, _ in counts})
    readers: dict[str, list[Contraction]] = defaultdict(list)
    for contraction in contractions(program.main):
        readers[contraction.weight].append(contraction)
    groups = []
    for index, (structure, count) in enumerate(counts):
        parts = [
            _part(coupling, structure, weight, dim, readers[weight])
            for weight, dim in own[structure.atom]
        ]
        group = Group(index, structure, count, tuple(parts))
        if not group.summing:
            raise PassError(
                f"{structure.name}: no matrix product sums over it, so there is nothing to choose "
                "its units by; protect it with a plan (rates=plan) that keeps it whole"
            )
        groups.append(group)
    return groups


def _weights_by_atom(
    coupling: Coupling, chosen: Mapping[Atom, Structure]
) -> dict[Atom, list[tuple[str, int]]]:
    result: dict[Atom, list[tuple[str, int]]] = defaultdict(list)
    for weight, axes in coupling.weight_axes.items():
        found = [(d, a) for d, x in enumerate(axes) for a in dict.fromkeys(leaves(x))]
        carried = [(dim, atom) for dim, atom in found if atom in chosen]
        if len(carried) > 1:
            names = sorted({chosen[atom].name for _, atom in carried})
            raise PassError(
                f"{weight} carries the units of {names} in {len(carried)} places: what is "
                "chosen of one of them would change what is read of the other"
            )
        for dim, atom in carried:
            result[atom].append((weight, dim))
    return result


def _part(
    coupling: Coupling, structure: Structure, weight: str, dim: int, readers: Sequence[Contraction]
) -> Part:
    summed = {contraction.summed for contraction in readers}
    if len(summed) > 1:
        raise PassError(
            f"{weight} of {structure.name} is multiplied with in both directions: one layout "
            "cannot serve both"
        )
    try:
        positions = find_positions(coupling.weight_axes[weight][dim], structure.atom)
    except ValueError as error:
        raise PassError(f"{structure.name}: dimension {dim} of {weight}: {error}") from error
    return Part(weight, dim, positions, tuple(readers), summed.pop() if summed else 0)


def part_shape(part: Part, weight: torch.Tensor, count: int) -> tuple[int, ...]:
    """The sizes of the chosen part as decode reads it, for one sequence.

    A matrix is [out, in]; anything else is narrowed where it carries the units.
    """
    shape = list(weight.shape)
    shape[part.dim] = count * part.positions.per_unit
    return tuple(reversed(shape)) if part.is_matrix and part.summed == 0 else tuple(shape)
