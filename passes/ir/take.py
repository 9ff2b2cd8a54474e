"""Take out of a tensor the positions that a selection leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from prunec.passes.ir.axes import Atom, Axis, Indices, size
from prunec.passes.ir.selection import Selection, is_cut, kept, outer_elsewhere, unit_of


def take(tensor: torch.Tensor, axes: Sequence[Axis], selection: Selection) -> torch.Tensor:
    """The positions of a tensor that stay; the same tensor where all do.

    Args:
        tensor: Of any shape.
        axes: One for each of its dimensions.
        selection: What stays of their atoms.

    Raises:
        ValueError: a dimension is cut by the units of an axis that the tensor does not have.
    """
    dims = [d for d, axis in enumerate(axes) if is_cut(axis, selection)]
    # First what depends on an outer axis, while that is whole.
    for dim in sorted(dims, key=lambda d: outer_elsewhere(axes[d], selection) is None):
        outer = outer_elsewhere(axes[dim], selection)
        if outer is None:
            indices = torch.from_numpy(kept(axes[dim], selection)).to(tensor.device)
            tensor = tensor.index_select(dim, indices)
        else:
            tensor = _take_per_unit(tensor, axes, dim, outer, selection)
    return tensor


def kept_table(axis: Axis, outer: Atom, selection: Selection) -> Indices:
    """[outer units, kept]: the positions of an axis that stay in each unit of an outer one."""
    return np.stack([kept(axis, selection, unit) for unit in range(outer.size)])


def dim_of(axes: Sequence[Axis], outer: Atom) -> int | None:
    """The dimension that carries an axis, if any."""
    return next((d for d, a in enumerate(axes) if (unit_of(a, outer) >= 0).all()), None)


def _take_per_unit(
    tensor: torch.Tensor, axes: Sequence[Axis], dim: int, outer: Atom, selection: Selection
) -> torch.Tensor:
    above = dim_of(axes, outer)
    if above is None:
        raise ValueError(f"dimension {dim} is cut by units that {tuple(tensor.shape)} lacks")
    rows = kept_table(axes[dim], outer, selection)[unit_of(axes[above], outer)]
    shape = [1] * tensor.dim()
    shape[above], shape[dim] = size(axes[above]), rows.shape[1]
    table = torch.from_numpy(rows if above < dim else rows.T.copy()).to(tensor.device)
    return torch.take_along_dim(tensor, table.reshape(shape), dim)
