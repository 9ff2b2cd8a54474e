"""Where units lie along a dimension of a weight: from chosen units to positions, in a graph."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import torch

from prunec.passes.ir.axes import Atom, Axis
from prunec.passes.ir.selection import kept, unit_of

aten = torch.ops.aten
_TRIALS = 8


@dataclass(frozen=True)
class Positions:
    """The positions of every unit, as a constant.

    Attributes:
        table: [parts, units] where the first positions of all units come first, as in fused
            gate | up; [units, parts] where those of a unit lie side by side. int64.
        side_by_side: Which of the two.
    """

    table: torch.Tensor
    side_by_side: bool

    @property
    def per_unit(self) -> int:
        """How many positions each unit has."""
        return int(self.table.shape[int(self.side_by_side)])

    @property
    def is_identity(self) -> bool:
        """Whether positions are units, so that the table is not needed."""
        return bool(torch.equal(self.table.flatten(), torch.arange(self.table.numel()))) and (
            self.per_unit == 1
        )

    def of(self, units: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """The positions of chosen units, in the order in which a cut leaves them.

        Args:
            units: [chosen] or [batch, chosen], ascending.
            table: The constant as the graph reads it.

        Returns:
            [positions] or [batch, positions].
        """
        if self.is_identity:
            return units
        picked = aten.index_select.default(table, 1 - self._parts_dim, _flat(units))
        return aten.reshape.default(picked, [-1])

    def of_each(self, units: torch.Tensor, table: torch.Tensor, count: int) -> torch.Tensor:
        """The same for units [batch, chosen], `count` of them in each row: [batch, positions]."""
        if self.is_identity:
            return units
        picked = aten.index_select.default(table, 1 - self._parts_dim, _flat(units))
        if not self.side_by_side:  # [parts, batch * chosen]
            apart = aten.reshape.default(picked, [self.per_unit, -1, count])
            picked = aten.permute.default(apart, [1, 0, 2])
        return aten.reshape.default(picked, [-1, count * self.per_unit])

    def sum_over_units(self, values: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Add up a value of each position, [batch, positions], over each unit: [batch, units]."""
        if self.is_identity:
            return values
        picked = aten.index_select.default(values, 1, _flat(table))
        shaped = aten.reshape.default(picked, [-1, *self.table.shape])
        return aten.sum.dim_IntList(shaped, [1 + self._parts_dim])

    def by_unit(self, values: torch.Tensor) -> torch.Tensor:
        """A value of each position, [positions], as [parts, units]."""
        found = values[self.table]
        return found.T if self.side_by_side else found

    @property
    def _parts_dim(self) -> int:
        return int(self.side_by_side)


def _flat(units: torch.Tensor) -> torch.Tensor:
    return aten.reshape.default(units, [-1])


def find_positions(axis: Axis, atom: Atom) -> Positions:
    """Read the positions of units off an axis.

    Raises:
        ValueError: some positions belong to no unit, units differ in how many they have, or a
            cut leaves them in an order that a table cannot give.
    """
    unit = unit_of(axis, atom)
    if (unit < 0).any():
        raise ValueError(f"{int((unit < 0).sum())} of {len(unit)} positions belong to no unit")
    counts = np.bincount(unit, minlength=atom.size)
    if (counts != counts[0]).any():
        raise ValueError("its units have different numbers of positions")
    by_unit = torch.from_numpy(np.argsort(unit, kind="stable").reshape(atom.size, counts[0]))
    for found in (Positions(by_unit.T.contiguous(), False), Positions(by_unit, True)):
        if _orders_like_a_cut(found, axis, atom):
            return found
    raise ValueError("its positions do not lie unit by unit or segment by segment")


def _orders_like_a_cut(found: Positions, axis: Axis, atom: Atom) -> bool:
    random = Random(0)
    for _ in range(_TRIALS):
        count = random.randint(1, atom.size)
        units = np.array(sorted(random.sample(range(atom.size), count)), dtype=np.int64)
        here = found.of(torch.from_numpy(units), found.table)
        if not np.array_equal(here.numpy(), kept(axis, {atom: units})):
            return False
    return True
