"""Cut every structure of a kind at a rate."""

from __future__ import annotations

from collections.abc import Sequence

from prunec.passes.analysis.coupling import Structure
from prunec.passes.plan.budget import Budget
from prunec.passes.plan.problem import Problem, Step, extend


def cut_at_rates(problem: Problem, speeds: Sequence[float]) -> list[Step]:
    """Cut each kind at one rate for all its structures, times each one's speed.

    Kinds of few large units are rounded to whole units first, at the rate of the tightest budget
    of which smaller units save too. The smallest units that save of a budget then take what is
    left of it, in turn over the structures; larger ones follow where that is not enough.

    Args:
        problem: What to decide about.
        speeds: For each structure how fast it is cut; 1 on average.
    """
    values = [problem.scores[s.name] for s in problem.structures]
    removed = problem.forced(values)
    kinds = coarse_to_fine(problem.structures)
    for depth, kind in enumerate(kinds[:-1]):
        if problem.hold(removed):
            break
        left_to_finer = [b for b in problem.budgets if _saves(problem, kinds[depth + 1 :], b)]
        rate = max((1 - b.share for b in left_to_finer if _saves(problem, [kind], b)), default=0)
        for place, structure in enumerate(problem.structures):
            if structure.kind == kind:
                removed += _down_to(problem, place, rate * speeds[place], removed)
    for budget in problem.budgets_in_turn():
        for kind in reversed(kinds):
            candidates = _in_turn(problem, kind, budget, speeds, removed)
            removed = extend(problem, removed, candidates, budget.holds)
    return removed


def coarse_to_fine(structures: Sequence[Structure]) -> list[str]:
    """The kinds by the parameters of their smallest unit, the largest first."""
    finest: dict[str, int] = {}
    for s in structures:
        finest[s.kind] = min(s.parameters_per_unit, finest.get(s.kind, s.parameters_per_unit))
    order = list(finest)  # of kinds with equal units the first counts as the finest
    return sorted(finest, key=lambda kind: (-finest[kind], -order.index(kind)))


def _saves(problem: Problem, kinds: Sequence[str], budget: Budget) -> bool:
    places = (place for place, s in enumerate(problem.structures) if s.kind in kinds)
    return any(problem.saves(place, budget).any() for place in places)


def _down_to(problem: Problem, place: int, rate: float, removed: Sequence[Step]) -> list[Step]:
    """The steps by which a structure loses this share of its units, to whole groups."""
    size, group = problem.structures[place].size, problem.limits[place].group
    least = size - round(min(rate, 1.0) * size / group) * group
    values = problem.scores[problem.structures[place].name]
    return problem.steps(place, values, problem.gone(removed)[place], least)


def _in_turn(
    problem: Problem,
    kind: str,
    budget: Budget,
    speeds: Sequence[float],
    removed: Sequence[Step],
) -> list[Step]:
    """The steps of all structures of a kind, in the order in which a growing rate takes them."""
    found: list[tuple[float, Step]] = []
    before = problem.gone(removed)
    for place, structure in enumerate(problem.structures):
        if structure.kind == kind and problem.saves(place, budget).any():
            count = len(before[place])
            for step in problem.steps(place, problem.scores[structure.name], before[place]):
                count += len(step.units)
                found.append((count / structure.size / speeds[place], step))
    return [step for _, step in sorted(found, key=lambda item: item[0])]
