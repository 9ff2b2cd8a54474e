"""What every way of allocation implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from prunec.passes.plan.problem import Problem, Step


class Method(ABC):
    """A way to share a budget. Subclasses are final frozen dataclasses; fields are options."""

    name: ClassVar[str]
    source: ClassVar[str] = ""

    @abstractmethod
    def choose(self, problem: Problem) -> list[Step]:
        """Say which units go, in the order in which it was decided.

        All budgets hold afterwards: the problem was found solvable before.

        Raises:
            PassError: scores that the method needs are not there.
        """
