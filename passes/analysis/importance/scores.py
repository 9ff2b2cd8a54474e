"""Scores as a value, and what every criterion implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from prunec.passes.analysis.coupling import Coupling, Member, Structure
from prunec.passes.contract import Context
from prunec.passes.ir import Program
from prunec.passes.ir.selection import unit_of


@dataclass(frozen=True)
class Scores:
    """Scores of every unit.

    Attributes:
        criterion: What gave them.
        by_structure: Structure name to [size], float64; larger matters more.
    """

    criterion: str
    by_structure: Mapping[str, torch.Tensor]


class Criterion(ABC):
    """A way to score units."""

    name: ClassVar[str]
    source: ClassVar[str]

    @abstractmethod
    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> dict[str, torch.Tensor]:
        """Score the units of these structures: name to [size], float64."""


def sum_over_units(
    values: torch.Tensor, member: Member, structure: Structure, coupling: Coupling
) -> torch.Tensor:
    """Sum a value for each position of a weight's dimension over each unit's positions.

    Args:
        values: [positions of the dimension].
        member: Which dimension of which weight.
        structure: Whose units.
        coupling: Knows how the dimension is made of axes.

    Returns:
        [size of the structure], float64.
    """
    axis = coupling.weight_axes[member.weight][member.dim]
    units = torch.from_numpy(unit_of(axis, structure.atom))
    result = torch.zeros(structure.size, dtype=torch.float64)
    inside = units >= 0
    return result.index_add_(0, units[inside], values.double()[inside])


def sum_of_weight_scores(
    scores: Mapping[str, torch.Tensor], coupling: Coupling, structures: Sequence[Structure]
) -> dict[str, torch.Tensor]:
    """Add up element-wise scores of weights over all members of each structure."""
    result = {}
    for structure in structures:
        total = torch.zeros(structure.size, dtype=torch.float64)
        for member in structure.members:
            element = scores[member.weight]
            others = [d for d in range(element.dim()) if d != member.dim]
            along = element.double().sum(others) if others else element
            total += sum_over_units(along, member, structure, coupling)
        result[structure.name] = total
    return result
