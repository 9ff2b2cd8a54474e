"""Refuse budgets that no selection reaches, before anything is decided."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from prunec.passes.contract import PassError
from prunec.passes.plan.budget import OPTIONS, Budget
from prunec.passes.plan.problem import Problem


def require_reachable(problem: Problem, options: Mapping[str, Any]) -> None:
    """Compare the budgets with the program in which everything goes that may go.

    Raises:
        PassError: a budget does not hold even there; says what is reachable and what would help.
    """
    least = problem.sizes(
        step
        for place, structure in enumerate(problem.structures)
        for step in problem.steps(place, problem.scores[structure.name])
    )
    missed = [budget for budget in problem.budgets if not budget.holds(least)]
    if not missed:
        return
    found = "; ".join(
        f"{b.asked} asks for {b.limit:,} of {b.whole:,} {OPTIONS[b.option][1]}, and {left:,} "
        f"({_least(b, left)}) is the least that is left"
        for b, left in ((b, b.of(least)) for b in missed)
    )
    names = " and ".join("the share that stays" if b.is_default else b.option for b in missed)
    others = {s.kind for s in problem.coupling.structures} - set(options["kinds"])
    raise PassError(
        f"the budget cannot be reached: {found}. Raise {names}, lower floor "
        f"({options['floor']:g}){_also(options)}, or add kinds to {options['kinds']}; this program "
        f"also has {', '.join(sorted(others)) or 'no others'}"
    )


def _least(budget: Budget, left: int) -> str:
    """The share that is left, rounded up to four digits so that a budget of it can be reached."""
    share = math.ceil(left / budget.whole * 10_000) / 10_000
    return f"{share} of them" if budget.is_default else f"{budget.option}={share}"


def _also(options: Mapping[str, Any]) -> str:
    """The other options that are set and hold units back."""
    held = {name: options[name] for name in ("floors", "protect", "multiples") if options[name]}
    return "".join(f", relax {name} ({', '.join(map(str, v))})" for name, v in held.items())
