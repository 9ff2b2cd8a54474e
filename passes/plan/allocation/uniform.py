"""The same rate in every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from prunec.passes.plan.allocation.method import Method
from prunec.passes.plan.allocation.rates import cut_at_rates
from prunec.passes.plan.problem import Problem, Step


@final
@dataclass(frozen=True)
class Uniform(Method):
    """Cut every layer alike.

    Kinds of few large units (KV groups, heads) are rounded to whole units first; the kind of the
    smallest units then takes what is left of the budget, evenly over the layers. Within a
    structure the best-scored units stay.

    Between two budgets that round the large units alike, the larger one keeps a superset.
    """

    name = "uniform"

    def choose(self, problem: Problem) -> list[Step]:
        """See `Method.choose`."""
        return cut_at_rates(problem, [1.0] * len(problem.structures))
