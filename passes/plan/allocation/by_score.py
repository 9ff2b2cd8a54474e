"""All units of all layers compete by their scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from prunec.passes.plan.allocation.competition import remove_worst
from prunec.passes.plan.allocation.method import Method
from prunec.passes.plan.allocation.standardise import STANDARDS
from prunec.passes.plan.budget import Budget
from prunec.passes.plan.numbers import number_of, parse_numbers
from prunec.passes.plan.problem import Problem, Step


@final
@dataclass(frozen=True)
class ByScore(Method):
    """Remove the worst units of the whole program until the budget is met.

    With ``standardise=z-score``, ``mean`` or ``rank`` the scores of each structure are made
    comparable apart and units are ordered by them; what a unit saves (a head its parameters)
    counts towards the budget, not in the order: FLAP's adaptive structure search is the z-score.
    With ``none`` scores are taken as losses in one unit for all, such as the error left after
    repair, and units go in the order of loss per saved parameter, byte or operation. As each
    structure's units are sorted, the losses of its prefixes are convex in what they save, so
    this greedy choice is the best one for its budget, to one unit.

    ``kind_weights`` makes units of a kind dearer: their scores are multiplied (a z-score, which
    may be negative, is raised by the logarithm).

    A larger budget keeps a superset.
    """

    name = "global"
    source = "An et al. 2023, arXiv 2312.11983 (FLAP)"

    standardise: str = "z-score"
    kind_weights: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.standardise not in STANDARDS:
            raise ValueError(f"standardise={self.standardise!r}: choose one of {[*STANDARDS]}")
        if min(parse_numbers("kind_weights", self.kind_weights).values(), default=1) <= 0:
            raise ValueError(f"kind_weights={self.kind_weights}: weights are above 0")

    def choose(self, problem: Problem) -> list[Step]:
        """See `Method.choose`."""
        return remove_worst(problem, lambda budget: self._values(problem, budget))

    def _values(self, problem: Problem, budget: Budget) -> Sequence[torch.Tensor]:
        numbers = parse_numbers("kind_weights", self.kind_weights)
        values = []
        for place, structure in enumerate(problem.structures):
            worth = STANDARDS[self.standardise](problem.scores[structure.name].double())
            weight = number_of(structure, numbers, 1.0)
            if self.standardise == "none":
                saved = torch.from_numpy(problem.saves(place, budget))
                worth = worth / torch.where(saved > 0, saved, 1)
            values.append(
                worth + math.log(weight) if self.standardise == "z-score" else worth * weight
            )
        return values
