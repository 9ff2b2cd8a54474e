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
        fluctuation: Structure name to [size], float64: by how much each score moves between
            batches of the text, as a share of itself. None where the criterion does not say.
    """

    criterion: str
    by_structure: Mapping[str, torch.Tensor]
    fluctuation: Mapping[str, torch.Tensor] | None = None


class Criterion(ABC):
    """A way to score units.

    Attributes:
        name: As it is written in pipelines.
        source: The paper that it is from.
        scores_branches: Whether it scores residual branches (kind ``layer``), and only those.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    scores_branches: ClassVar[bool] = False

    @abstractmethod
    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> Scores:
        """Score the units of these structures, all of them.

        Raises:
            PassError: a structure has not what is measured on; names a criterion that would do.
        """


class InputsCriterion(Criterion):
    """Scores by what layers are given, be it by the whole program or by what a plan leaves."""

    @abstractmethod
    def score_on(
        self,
        fed: Program,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> Scores:
        """See `Criterion.score`; `fed` runs in place of the program and has nodes of its names.

        Weights that are scored are the program's: those of `fed` may lack some units.
        """

    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> Scores:
        """See `Criterion.score`."""
        return self.score_on(program, program, coupling, structures, context)


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
    return {s.name: _slices(scores, coupling, s).sum(0) for s in structures}


def sum_of_vectors(
    changes: Mapping[str, torch.Tensor], coupling: Coupling, structures: Sequence[Structure]
) -> dict[str, torch.Tensor]:
    """The same with what belongs to a unit in one weight summed before its sign is dropped."""
    return {s.name: _slices(changes, coupling, s).abs().sum(0) for s in structures}


def _slices(
    values: Mapping[str, torch.Tensor], coupling: Coupling, structure: Structure
) -> torch.Tensor:
    """Sum a value of each element of the weights over each unit: [member, size], float64."""
    return torch.stack(
        [_slice(values[m.weight], m, structure, coupling) for m in structure.members]
    )


def _slice(
    values: torch.Tensor, member: Member, structure: Structure, coupling: Coupling
) -> torch.Tensor:
    others = [d for d in range(values.dim()) if d != member.dim]
    along = values.sum(others, dtype=torch.float64) if others else values
    return sum_over_units(along, member, structure, coupling)
