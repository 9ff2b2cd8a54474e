"""Let units of all structures compete for what stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from prunec.passes.plan.budget import Budget
from prunec.passes.plan.problem import Problem, Step, extend

Values = Callable[[Budget], Sequence[torch.Tensor]]
"""For each structure what its units are worth where this budget is short: [size]."""


def remove_worst(problem: Problem, values: Values) -> list[Step]:
    """Remove the units of the least value, whatever structure they are of.

    The budgets are met in turn, the one that the fewest structures save of first; units that
    save nothing of a budget do not compete for it.
    """
    turns = problem.budgets_in_turn()
    removed = problem.forced(values(turns[0]))
    for budget in turns:
        candidates = _worst_first(problem, values(budget), budget, removed)
        removed = extend(problem, removed, candidates, budget.holds)
    return removed


def _worst_first(
    problem: Problem, values: Sequence[torch.Tensor], budget: Budget, removed: Sequence[Step]
) -> list[Step]:
    """All steps that save of a budget; of one structure in the order of its units' values."""
    found: list[tuple[float, Step]] = []
    gone = problem.gone(removed)
    for place in range(len(problem.structures)):
        saved = torch.from_numpy(problem.saves(place, budget))
        if not saved.any():
            continue
        worth = torch.where(saved > 0, values[place], torch.inf)
        latest = -torch.inf
        for step in problem.steps(place, worth, gone[place]):
            mean = float(worth[list(step.units)].mean())
            latest = max(latest, mean)  # rounding must not turn the order round
            found.append((latest, step))
    return [step for value, step in sorted(found, key=lambda item: item[0]) if value < torch.inf]
