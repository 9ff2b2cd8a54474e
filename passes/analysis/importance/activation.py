"""Score by the activations that a unit sends into the layers that consume it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from prunec.passes.analysis.importance.consumers import Consumer, ConsumerCriterion
from prunec.passes.contract import Context


@final
class Activation(ConsumerCriterion):
    """The L2 norm over all tokens of a unit's activations where a linear layer sums over it.

    Transitional activations: the input of the output projection for heads, of the down
    projection for feed-forward channels.
    """

    name = "activation"
    source = "Shen et al. 2024, arXiv 2407.05690 (TransAct), section 3.2"

    def rate(self, consumers: Sequence[Consumer], context: Context) -> torch.Tensor:
        """See `ConsumerCriterion.rate`."""
        sums = [c.sum_over_units(c.moments.squares.sum(0)) for c in consumers]
        return torch.stack(sums).sum(0).sqrt()
