"""Criteria that add up over a unit what the loss would change without each of its weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.gradients import GradientSums, sum_gradients
from prunec.passes.analysis.importance.scores import Criterion, Scores, sum_of_weight_scores
from prunec.passes.contract import Context
from prunec.passes.ir import Program


class ElementCriterion(Criterion):
    """Sum a score of single weights, from gradients of the loss, over each unit. Needs text."""

    @abstractmethod
    def element(self, weight: torch.Tensor, gradients: GradientSums, name: str) -> torch.Tensor:
        """The score of each element of the weight of this name, not negative: as the weight."""

    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> Scores:
        """See `Criterion.score`."""
        names = weights_of(structures)
        gradients = sum_gradients(program, names, context, f"criterion={self.name}")
        elements = {n: self.element(program.weights[n].detach(), gradients, n) for n in names}
        return Scores(self.name, sum_of_weight_scores(elements, coupling, structures))


def weights_of(structures: Sequence[Structure]) -> list[str]:
    """The names of all weights that carry these structures, each once."""
    return sorted({member.weight for structure in structures for member in structure.members})
