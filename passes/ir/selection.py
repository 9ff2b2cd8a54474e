"""What stays of axes: selections of units, and the positions of an axis that they leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prunec.passes.ir.axes import Atom, Axis, Concat, Indices, leaves, resolve, size


@dataclass(frozen=True, eq=False)
class PerUnit:
    """What stays of an axis, told apart by the units of an outer axis.

    Attributes:
        outer: The axis under which it always appears, such as the KV heads above a head width.
        table: [outer units, kept]: for each outer unit the units that stay, ascending. All
            outer units keep the same number.
    """

    outer: Atom
    table: Indices


Kept = Indices | PerUnit
Selection = Mapping[Atom, Kept]
"""For each atom that is cut: the indices of the units that stay, ascending."""


def kept_count(chosen: Kept) -> int:
    """How many units stay (of each outer unit)."""
    return int(chosen.table.shape[1]) if isinstance(chosen, PerUnit) else len(chosen)


def kept(axis: Axis, selection: Selection, outer_unit: int = 0) -> Indices:
    """Positions of the axis that stay, ascending.

    Args:
        axis: The axis.
        selection: What stays of its atoms.
        outer_unit: Where an atom is cut differently in each unit of an outer axis that is not
            part of `axis`: the outer unit that is looked at. All keep the same number.
    """
    axis = resolve(axis)
    stays = np.ones(size(axis), dtype=bool)
    for atom in dict.fromkeys(leaves(axis)):
        if atom in selection:
            stays &= _stays(axis, atom, selection[atom], outer_unit)
    return np.flatnonzero(stays)


def _stays(axis: Axis, atom: Atom, chosen: Kept, outer_unit: int) -> npt.NDArray[np.bool_]:
    unit = unit_of(axis, atom)
    if isinstance(chosen, PerUnit):
        member = np.zeros((chosen.outer.size, atom.size), dtype=bool)
        np.put_along_axis(member, chosen.table, True, axis=1)
        outer = unit_of(axis, chosen.outer)
        member_here = member[np.where(outer < 0, outer_unit, outer), np.maximum(unit, 0)]
    else:
        flat = np.zeros(atom.size, dtype=bool)
        flat[chosen] = True
        member_here = flat[np.maximum(unit, 0)]
    return (unit < 0) | member_here


def is_cut(axis: Axis | None, selection: Selection) -> bool:
    """Whether the selection removes any position of the axis."""
    return axis is not None and any(leaf in selection for leaf in leaves(axis))


def outer_elsewhere(axis: Axis, selection: Selection) -> Atom | None:
    """The outer axis on which this one's cut depends and which it does not contain, if any."""
    here = set(leaves(axis))
    for atom in here:
        chosen = selection.get(atom)
        if isinstance(chosen, PerUnit) and resolve(chosen.outer) not in here:
            return chosen.outer
    return None


def unit_of(axis: Axis, atom: Atom) -> Indices:
    """For each position of the axis the atom's unit that it belongs to, -1 where to none."""
    axis = resolve(axis)
    if isinstance(axis, Atom):
        return np.arange(atom.size) if axis is atom else np.full(axis.size, -1)
    if isinstance(axis, Concat):
        return np.concatenate([unit_of(p, atom) for p in axis.parts])
    result = np.full(1, -1)
    for part in axis.parts:
        inner = unit_of(part, atom)
        result = np.where(inner[None, :] >= 0, inner[None, :], result[:, None]).ravel()
    return result
