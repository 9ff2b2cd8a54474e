"""Sums of products of inputs over tokens."""

from __future__ import annotations

import torch

_BLOCKS = 4  # of columns; with more of them less is computed twice, in smaller products


def second_moments(rows: torch.Tensor) -> torch.Tensor:
    """XᵀX of some tokens, [in, in], in float64: products in float32 at least, half of them copied.

    Args:
        rows: X, [token, in], float32 or float64.
    """
    size = rows.shape[1]
    result = rows.new_empty(size, size, dtype=torch.float64)
    step = max(1, -(-size // _BLOCKS))
    for start in range(0, size, step):
        end = start + step
        block = slice(start, end)
        result[block, start:] = rows[:, block].T @ rows[:, start:]
        result[end:, block] = result[block, end:].T
    return result
