"""How much of the prompt's activations each unit carries, as plain tensor functions.

Each takes tensors, or the proxies of a graph that is being written.
"""

from __future__ import annotations

import torch

aten = torch.ops.aten

TINY = torch.finfo(torch.float32).tiny
"""Below any squared norm of a token that is not zero: a token of zeros counts as zeros."""


def energy_shares(activations: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Sum each token's share of energy per input over the real tokens.

    With z a token's activations, the sum of z_j^2 / |z|^2: the square of the statistic s_j.

    Source: Dong et al. 2024 (GRIFFIN), arXiv 2404.01365, section 4: s = |column of the
    row-normalised activations|.

    Args:
        activations: [batch, token, in], of any floating-point type.
        real: [batch, token], float32: 1 for tokens that count, 0 for padding.

    Returns:
        [batch, in], float32.
    """
    wide = aten._to_copy.default(activations, dtype=torch.float32)
    squares = aten.mul.Tensor(wide, wide)
    norms = aten.clamp_min.default(aten.sum.dim_IntList(squares, [-1]), TINY)
    weights = aten.unsqueeze.default(aten.div.Tensor(real, norms), 1)  # [batch, 1, token]
    return aten.squeeze.dim(aten.matmul.default(weights, squares), 1)


def score_each(shares: torch.Tensor) -> torch.Tensor:
    """The statistic s of each row by itself: [batch, units] to [batch, units]."""
    return aten.sqrt.default(shares)


def score_together(shares: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """One score for the whole batch: the sum over rows of s_i / sqrt(real tokens of row i).

    Source: the paper's rule for batches; a row without a real token adds nothing.

    Args:
        shares: [batch, units], float32.
        real: [batch, token], float32.

    Returns:
        [units], float32.
    """
    counts = aten.clamp_min.default(aten.sum.dim_IntList(real, [1], True), 1)  # [batch, 1]
    return aten.sum.dim_IntList(aten.sqrt.default(aten.div.Tensor(shares, counts)), [0])
