"""Decide how many units each structure gives up, by one rate for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import Structure, find_structures
from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import Program
from prunec.passes.plan.plan import Cut, Plan


@dataclass(frozen=True)
class Allocate(Pass):
    """Plan to keep a share of the block parameters, with the same rate in every layer.

    Kinds of few large units (KV groups, heads) are rounded to whole units first; the kind of
    the smallest units then absorbs what is left of the budget, evenly over the layers. Within
    a structure the best-scored units stay.

    Changes: nothing; the plan is left in ``context.plan``.
    Keeps: the program, as the same object.

    Raises:
        PassError: no scores, no structure of a named kind, or a budget that the floors forbid.
    """

    name = "allocate"
    is_exact = True

    keep: float = 0.75
    """Share of the block parameters that stays, 0 to 1."""
    kinds: tuple[str, ...] = ("kv-group", "head", "ffn-channel")
    multiple: int = 8
    """The smallest units are removed in groups of this many: odd widths waste kernel tiles."""
    floor: float = 0.1
    """Share of its units that every structure keeps at least, and one unit."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep={self.keep} is not above 0 and at most 1")
        if self.multiple < 1 or not 0 <= self.floor <= 1:
            raise ValueError("multiple is at least 1, floor lies in 0..1")

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        coupling = context.analyse(find_structures, program)
        structures = coupling.of_kind(*self.kinds)
        if not structures:
            there = sorted({s.kind for s in coupling.structures})
            raise PassError(f"no structure of the kinds {self.kinds}; this program has {there}")
        if context.scores is None:
            raise PassError("nothing is scored yet: put a score pass before allocate")
        missing = [s.name for s in structures if s.name not in context.scores.by_structure]
        if missing:
            raise PassError(f"{len(missing)} structures have no score, for example {missing[0]}")
        drop = self._drop_counts(program, structures)
        scores = context.scores.by_structure
        cuts = tuple(_best(s, scores[s.name], s.size - drop[s.name]) for s in structures)
        reasons = {"criterion": context.scores.criterion, "keep": self.keep, "seed": context.seed}
        context.plan = Plan(cuts, program.fingerprint(), reasons)
        return program

    def _drop_counts(self, program: Program, structures: Sequence[Structure]) -> dict[str, int]:
        block = measure(program).block_parameters
        budget = round((1 - self.keep) * block)
        finest = min(structures, key=lambda s: s.parameters_per_unit).kind
        drop: dict[str, int] = {}
        for structure in structures:
            if structure.kind != finest:
                wanted = round((1 - self.keep) * structure.size)
                drop[structure.name] = min(wanted, structure.size - self._least(structure))
                budget -= drop[structure.name] * structure.parameters_per_unit
        fine = [s for s in structures if s.kind == finest]
        return drop | self._spread(fine, max(budget, 0), block)

    def _spread(self, fine: Sequence[Structure], budget: int, block: int) -> dict[str, int]:
        """Remove groups of units in turn over the layers until the budget is met."""
        rate = budget / sum(s.size * s.parameters_per_unit for s in fine)
        drop = {s.name: int(rate * s.size) // self.multiple * self.multiple for s in fine}
        left = budget - sum(drop[s.name] * s.parameters_per_unit for s in fine)
        for structure in fine:
            if left <= 0:
                break
            drop[structure.name] += self.multiple
            left -= self.multiple * structure.parameters_per_unit
        for structure in fine:
            most = structure.size - self._least(structure)
            if drop[structure.name] > most:
                raise PassError(
                    f"keep={self.keep} of {block} block parameters cannot be reached: "
                    f"{structure.name} would lose {drop[structure.name]} of {structure.size} "
                    f"units and must keep {self._least(structure)}. Raise keep, lower floor "
                    f"({self.floor}), or add kinds to {self.kinds}"
                )
        return drop

    def _least(self, structure: Structure) -> int:
        return max(structure.least, int(self.floor * structure.size))


def _best(structure: Structure, scores: torch.Tensor, count: int) -> Cut:
    """Keep the best-scored units; of equals the earlier."""
    order = torch.argsort(scores, descending=True, stable=True)[:count]
    keep = tuple(sorted(int(i) for i in order))
    return Cut(structure.name, structure.kind, structure.index, structure.size, keep)
