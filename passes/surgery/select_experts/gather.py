"""Take the chosen units out of a weight inside a graph, in the layout that decode reads."""

from __future__ import annotations

import torch

from prunec.passes.surgery.select_experts.groups import Part

aten = torch.ops.aten


def gather(weight: torch.Tensor, part: Part, positions: torch.Tensor) -> torch.Tensor:
    """One choice for the whole batch.

    Args:
        weight: As it is stored.
        part: Says where it carries units.
        positions: [positions], int64.

    Returns:
        A matrix as [out, in], anything else in its own layout.
    """
    if part.is_matrix:
        rows = aten.index_select.default(_by_position(weight, part), 0, positions)
        return aten.t.default(rows) if part.sums_units else rows
    return aten.index_select.default(weight, part.dim, positions)


def gather_each(
    weight: torch.Tensor, part: Part, positions: torch.Tensor, count: int
) -> torch.Tensor:
    """A choice for each row of the batch.

    Args:
        weight: As it is stored.
        part: Says where it carries units.
        positions: [batch, positions], int64.
        count: How many units are chosen.

    Returns:
        A matrix as [batch, out, in], a vector as [batch, 1, positions].
    """
    width = count * part.positions.per_unit
    flat = aten.reshape.default(positions, [-1])
    if part.is_matrix:
        found = aten.index_select.default(_by_position(weight, part), 0, flat)
        rows = aten.unflatten.int(found, 0, [-1, width])
        return aten.transpose.int(rows, 1, 2) if part.sums_units else rows
    found = aten.index_select.default(weight, part.dim, flat)
    return aten.reshape.default(found, [-1, 1, width])


def _by_position(weight: torch.Tensor, part: Part) -> torch.Tensor:
    """A matrix of which rows are taken, which is quicker than columns: [positions, other]."""
    return aten.t.default(weight) if part.dim == 1 else weight
