"""What an allocation decides about: structures, what may happen to them, and what must hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from prunec.passes.analysis.bill import SIZES, Bill, Dropped
from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.ir.axes import Atom
from prunec.passes.plan.budget import Budget, Sizes
from prunec.passes.plan.limits import Limits


class Step(NamedTuple):
    """Units of one structure that go together."""

    structure: int
    """Its place in `Problem.structures`."""
    units: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Problem:
    """What a method of allocation is given.

    Attributes:
        bill: Foretells sizes.
        structures: What may be cut.
        limits: Of each of them.
        budgets: All have to hold.
        scores: Structure name to [size]; also of structures that are not cut.
        fluctuation: The same for how much scores move over the text; may lack names.
    """

    bill: Bill
    structures: tuple[Structure, ...]
    limits: tuple[Limits, ...]
    budgets: tuple[Budget, ...]
    scores: Mapping[str, torch.Tensor]
    fluctuation: Mapping[str, torch.Tensor]

    @property
    def coupling(self) -> Coupling:
        """Where the structures are from."""
        return self.bill.coupling

    def sizes(self, removed: Iterable[Step]) -> Sizes:
        """The sizes of the program once these steps are taken."""
        counts, dropped = self.bill.whole.copy(), set[tuple[Atom, int]]()
        steps = list(removed)
        for place, units in steps:
            counts[self._places[place]] -= len(units)
            if self.structures[place].kind == "layer":
                dropped |= {(self.structures[place].atom, unit) for unit in units}
        sizes = self.bill.sizes(counts, frozenset(dropped))
        if any(budget.option == "weight_bytes" for budget in self.budgets):
            sizes[SIZES.index("weight_bytes")] += self._table_bytes(steps, frozenset(dropped))
        return sizes

    def kept(self, removed: Iterable[Step]) -> list[tuple[int, ...]]:
        """The units of each structure that stay once these steps are taken, ascending."""
        return [
            tuple(unit for unit in range(s.size) if unit not in gone)
            for s, gone in zip(self.structures, self.gone(removed), strict=True)
        ]

    def gone(self, removed: Iterable[Step]) -> list[set[int]]:
        """The units that each structure loses by these steps."""
        gone: list[set[int]] = [set() for _ in self.structures]
        for place, units in removed:
            gone[place].update(units)
        return gone

    def steps(
        self, place: int, values: torch.Tensor, gone: Collection[int] = (), least: int = 0
    ) -> list[Step]:
        """The steps that can still be taken in a structure, units of the least value first.

        Args:
            place: Which structure.
            values: [size]: what its units are worth. Of equals the earlier stays longer.
            gone: Those of its units that went before.
            least: How many units stay at least, where that is more than the limits say.
        """
        limits = self.limits[place]
        order = torch.argsort(values, descending=True, stable=True).flip(0).tolist()
        left = [u for u in order if u not in gone and u not in limits.protected]
        count = self.structures[place].size - len(gone)
        floor = max(limits.least, least)
        found: list[Step] = []
        while left:
            width = count % limits.group or limits.group
            if count - width < floor or width > len(left):
                break
            found.append(Step(place, tuple(left[:width])))
            left, count = left[width:], count - width
        return found

    def forced(self, values: Sequence[torch.Tensor]) -> list[Step]:
        """The steps that ceilings ask for."""
        return [
            step
            for place, limits in enumerate(self.limits)
            if limits.most < self.structures[place].size
            for step in self.steps(place, values[place], least=limits.most)
        ]

    def saves(self, place: int, budget: Budget) -> npt.NDArray[np.float64]:
        """What each unit of a structure saves of a budget in the uncut program: [size]."""
        return np.array([budget.of(sizes) for sizes in self._savings[place]], dtype=np.float64)

    def budgets_in_turn(self) -> list[Budget]:
        """The budget that the fewest structures save of first; of equals the tighter one."""

        def savers(budget: Budget) -> tuple[int, float]:
            places = range(len(self.structures))
            return sum(bool(self.saves(p, budget).any()) for p in places), budget.share

        return sorted(self.budgets, key=savers)

    def hold(self, removed: Iterable[Step]) -> bool:
        """Whether all budgets hold once these steps are taken."""
        sizes = self.sizes(removed)
        return all(budget.holds(sizes) for budget in self.budgets)

    @cached_property
    def _places(self) -> list[int]:
        """Where each structure stands among all of the coupling."""
        order = {s.name: place for place, s in enumerate(self.coupling.structures)}
        return [order[s.name] for s in self.structures]

    @cached_property
    def _savings(self) -> list[list[Sizes]]:
        """For each structure and each unit what the sizes lose with it alone."""
        whole = self.bill.sizes(self.bill.whole)
        found = []
        for place, structure in enumerate(self.structures):
            alone = range(structure.size if structure.kind == "layer" else 1)
            lost = [whole - self._sizes_without(place, unit) for unit in alone]
            found.append(lost * (structure.size // len(lost)))
        return found

    def _sizes_without(self, place: int, unit: int) -> Sizes:
        counts = self.bill.whole.copy()
        counts[self._places[place]] -= 1
        is_layer = self.structures[place].kind == "layer"
        dropped = frozenset({(self.structures[place].atom, unit)} if is_layer else ())
        return self.bill.sizes(counts, dropped)

    def _table_bytes(self, steps: Sequence[Step], dropped: Dropped) -> int:
        selection = {
            s.atom: np.array(kept, dtype=np.int64)
            for s, kept in zip(self.structures, self.kept(steps), strict=True)
            if len(kept) < s.size
        }
        return self.bill.table_bytes(selection, dropped)


def extend(
    problem: Problem,
    removed: Sequence[Step],
    candidates: Sequence[Step],
    is_enough: Callable[[Sizes], bool],
) -> list[Step]:
    """Take further steps in this order until it is enough, and none more than that.

    Takes all of them where that is not enough yet.
    """
    if is_enough(problem.sizes(removed)):
        return list(removed)
    low, high = 0, len(candidates)  # enough after `high` at most, never after `low`
    while high - low > 1:
        middle = (low + high) // 2
        if is_enough(problem.sizes([*removed, *candidates[:middle]])):
            high = middle
        else:
            low = middle
    return [*removed, *candidates[:high]]
