"""Score by activations times the weights that they meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from prunec.passes.analysis.importance.consumers import Consumer, ConsumerCriterion
from prunec.passes.contract import Context


@final
class Wanda(ConsumerCriterion):
    """The L2 norm of a unit's activations, each times the norm of the weights that it meets.

    That is what the unit contributes to the layer's output if inputs are uncorrelated.
    """

    name = "wanda"
    source = "Sun et al. 2023, arXiv 2306.11695, eq. 1, summed over structures (Wanda-sp)"

    def rate(self, consumers: Sequence[Consumer], context: Context) -> torch.Tensor:
        """See `ConsumerCriterion.rate`."""
        sums = [c.sum_over_units(c.moments.squares.sum(0) * c.column_squares()) for c in consumers]
        return torch.stack(sums).sum(0).sqrt()
