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
        A matrix as [in, out], anything else in its own layout.
    """
    found = aten.index_select.default(weight, part.dim, positions)
    return aten.t.default(found) if part.is_matrix and part.summed == 1 else found


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
        A matrix as [batch, in, out], a vector as [batch, 1, positions].
    """
    width = count * part.positions.per_unit
    flat = aten.reshape.default(positions, [-1])
    found = aten.index_select.default(weight, part.dim, flat)
    if not part.is_matrix:
        return aten.reshape.default(found, [-1, 1, width])
    if part.dim == 0:  # [batch * positions, other]
        rows = aten.unflatten.int(found, 0, [-1, width])
    else:  # [other, batch * positions]
        rows = aten.permute.default(aten.unflatten.int(found, 1, [-1, width]), [1, 0, 2])
    return aten.transpose.int(rows, 1, 2) if part.summed == 1 else rows
