"""Keep units whose importance is large and steady."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch

from prunec.passes.contract import PassError
from prunec.passes.plan.allocation.competition import remove_worst
from prunec.passes.plan.allocation.method import Method
from prunec.passes.plan.allocation.standardise import z_score
from prunec.passes.plan.problem import Problem, Step


@final
@dataclass(frozen=True)
class Stability(Method):
    """Rank units over all layers by importance less fluctuation: z(I) - eta · z(A).

    I is the score, A its standard deviation over the batches of the text over its mean, and z
    standardises over all units of a kind, so layers compete and get rates of their own.

    From the paper: importance that moves much is a reason to remove a module, modules are ranked
    by an indicator of stability over the layers, and the rates follow from that. Reconstructed,
    for its formula is not known to us: that both are z-scores over a kind and are subtracted,
    that units and not whole layers are ranked, and ``eta``; with ``eta=0`` importance alone.
    """

    name = "stability"
    source = "Zheng et al. 2024, arXiv 2412.15127 (SAAP), in part reconstructed"

    eta: float = 0.5

    def choose(self, problem: Problem) -> list[Step]:
        """See `Method.choose`."""
        missing = [s.name for s in problem.structures if s.name not in problem.fluctuation]
        if missing and self.eta:
            raise PassError(
                f"method=stability needs to know how much scores move over the text, and "
                f"{len(missing)} structures lack that, for example {missing[0]}: use a criterion "
                "that measures it, such as taylor, or eta=0"
            )
        importance = _over_kinds(problem, problem.scores)
        values = [importance[s.name] for s in problem.structures]
        if self.eta:
            moves = _over_kinds(problem, problem.fluctuation)
            names = [s.name for s in problem.structures]
            values = [v - self.eta * moves[n] for v, n in zip(values, names, strict=True)]
        return remove_worst(problem, lambda budget: values)


def _over_kinds(problem: Problem, found: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Standardise over all units of each kind."""
    result: dict[str, torch.Tensor] = {}
    for kind in {s.kind for s in problem.structures}:
        alike = [s for s in problem.structures if s.kind == kind]
        whole = z_score(torch.cat([found[s.name].double() for s in alike]))
        parts = whole.split([s.size for s in alike])
        result |= {s.name: part for s, part in zip(alike, parts, strict=True)}
    return result
