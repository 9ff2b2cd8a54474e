"""Rates by how much each block changes the residual stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from prunec.passes.analysis.coupling import Structure
from prunec.passes.contract import PassError
from prunec.passes.plan.allocation.method import Method
from prunec.passes.plan.allocation.rates import cut_at_rates
from prunec.passes.plan.problem import Problem, Step


@final
@dataclass(frozen=True)
class BlockInfluence(Method):
    """Cut blocks of little influence faster: rate_l = L · mean rate · softmax(-BI_l / T)_l.

    The influence of a block is read from the scores of the kind ``layer``: one for each residual
    branch, larger where the branch changes the stream more. A structure has that of the branch
    which holds its weights (the mean of several). The softmax runs over the structures of each
    kind apart, so every kind is cut at the rate of the budget on average; a rate that would
    exceed what the limits allow stays there, and the others grow until the budget is met.
    Structures that belong to no branch, such as the stream itself, are cut at the mean rate.
    """

    name = "block-influence"
    source = "Lin et al. 2024, arXiv 2408.09632 (MoDeGPT)"

    temperature: float = 0.1

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature} must be above 0")

    def choose(self, problem: Problem) -> list[Step]:
        """See `Method.choose`."""
        influence = [_influence(problem, s) for s in problem.structures]
        speeds = [1.0] * len(influence)
        for kind in {s.kind for s in problem.structures}:
            places = [
                place
                for place, s in enumerate(problem.structures)
                if s.kind == kind and influence[place] is not None
            ]
            for place, speed in zip(places, self._speeds(influence, places), strict=True):
                speeds[place] = speed
        return cut_at_rates(problem, speeds)

    def _speeds(self, influence: Sequence[float | None], places: Sequence[int]) -> list[float]:
        chosen = torch.tensor([influence[p] for p in places], dtype=torch.float64)
        shares = torch.softmax(-chosen / self.temperature, 0)
        # A share that is zero to rounding would divide by zero; such a structure goes last.
        return [float(s) for s in (shares * len(places)).clamp_min(1e-12)]


def _influence(problem: Problem, structure: Structure) -> float | None:
    """The mean influence of the branches that hold the structure's weights; None of no branch."""
    if structure.kind in ("residual", "layer"):
        return None
    weights = {member.weight for member in structure.members}
    found = []
    for layer in problem.coupling.of_kind("layer"):
        branches = next(b.branches for b in problem.coupling.branches if b.atom is layer.atom)
        units = [u for u, b in enumerate(branches) if weights & b.parameters.keys()]
        if units and layer.name not in problem.scores:
            raise PassError(
                "method=block-influence needs scores of the kind layer: put a score pass with "
                "kinds=layer before allocate"
            )
        found += [float(problem.scores[layer.name][unit]) for unit in units]
    return sum(found) / len(found) if found else None
