"""The contractions that sum over a structure, and criteria of what they are given."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from prunec.passes.analysis.contractions import Contraction
from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.expert_contractions import all_contractions
from prunec.passes.analysis.importance.scores import InputsCriterion, Scores
from prunec.passes.analysis.statistics import Moments, stream_moments
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Entry, Program
from prunec.passes.ir.selection import unit_of


@dataclass(frozen=True)
class Consumer:
    """A contraction that sums over the units of a structure, with what it is given.

    Attributes:
        contraction: Which one.
        moments: Of its inputs.
        matrix: What it multiplies them with: [out, in], weighed if the criterion does that.
        unit: For each input the unit that it belongs to, -1 where to none: [in], int64.
        size: How many units there are.
    """

    contraction: Contraction
    moments: Moments
    matrix: torch.Tensor
    unit: torch.Tensor
    size: int

    def sum_over_units(self, values: torch.Tensor) -> torch.Tensor:
        """Add up a value of each input, [in], over the inputs of each unit: [size], float64."""
        inside = self.unit >= 0
        result = torch.zeros(self.size, dtype=torch.float64)
        return result.index_add_(0, self.unit[inside], values.double()[inside])

    def inputs_per_unit(self) -> torch.Tensor:
        """How many inputs each unit has: [size], float64."""
        return self.sum_over_units(torch.ones(len(self.unit)))

    def column_squares(self) -> torch.Tensor:
        """For each input the sum of the squared weights that it meets: [in], float64."""
        return self.matrix.double().square().sum(0)


class ConsumerCriterion(InputsCriterion):
    """Score units by what the contractions that sum over them are given. Needs text."""

    needs_second_moments: ClassVar[bool] = False

    @abstractmethod
    def rate(self, consumers: Sequence[Consumer], context: Context) -> torch.Tensor:
        """Score the units of a structure by all its consumers: [size], float64."""

    def weigh(self, contraction: Contraction, matrix: torch.Tensor) -> torch.Tensor:
        """What the consumers of a contraction are given as its matrix: [out, in]."""
        return matrix

    def score_on(
        self,
        fed: Program,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> Scores:
        """See `InputsCriterion.score_on`.

        A structure is scored as soon as its last consumer has run.
        """
        readers = require_readers(program.main, structures)
        stream = stream_moments(
            fed,
            in_order(readers, program.main),
            context,
            f"criterion={self.name}",
            with_second=self.needs_second_moments,
        )
        waiting: dict[str, list[Consumer]] = defaultdict(list)
        result = {}
        for contraction, moments in stream:
            axis = coupling.weight_axes[contraction.weight][contraction.summed]
            matrix = self.weigh(contraction, contraction.matrix(program.weights))
            for structure in structures:
                if contraction not in readers[structure.name]:
                    continue
                unit = torch.from_numpy(unit_of(axis, structure.atom))
                consumer = Consumer(contraction, moments, matrix, unit, structure.size)
                waiting[structure.name].append(consumer)
                if len(waiting[structure.name]) == len(readers[structure.name]):
                    result[structure.name] = self.rate(waiting.pop(structure.name), context)
        return Scores(self.name, {s.name: result[s.name] for s in structures})


def require_readers(
    entry: Entry, structures: Sequence[Structure]
) -> Mapping[str, Sequence[Contraction]]:
    """For each structure, by name, the contractions that sum over it.

    Raises:
        PassError: there is none for some structure.
    """
    by_place: dict[tuple[str, int], list[Contraction]] = defaultdict(list)
    for contraction in all_contractions(entry):
        by_place[contraction.weight, contraction.summed].append(contraction)
    readers = {}
    for structure in structures:
        found = [c for m in structure.members for c in by_place[m.weight, m.dim]]
        if not found:
            raise PassError(
                f"{structure.name}: no linear layer sums over it, so there is no activation to "
                "score it by; use criterion=magnitude or taylor, or leave its kind out"
            )
        readers[structure.name] = found
    return readers


def in_order(readers: Mapping[str, Sequence[Contraction]], entry: Entry) -> list[Contraction]:
    """The contractions that any structure is read by, each once, in graph order."""
    found = {contraction for of_one in readers.values() for contraction in of_one}
    return [contraction for contraction in all_contractions(entry) if contraction in found]
