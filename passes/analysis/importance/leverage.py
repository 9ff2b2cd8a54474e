"""Score by what of a unit's activations the others cannot make up for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from prunec.passes.analysis.importance.consumers import Consumer, ConsumerCriterion
from prunec.passes.analysis.importance.ridge import ridge_inverse
from prunec.passes.contract import Context


@final
class Leverage(ConsumerCriterion):
    """The ridge leverage of a unit's inputs: the sum of [C (C + λI)⁻¹]_ii with C = XᵀX.

    λ is that of the refit, relative to the mean of C's diagonal; the paper's is a constant.
    Blind to the weights that the inputs meet.
    """

    name = "leverage"
    source = "Lin et al. 2024, arXiv 2408.09632 (MoDeGPT), algorithm 1 (type I)"
    needs_second_moments = True

    def rate(self, consumers: Sequence[Consumer], context: Context) -> torch.Tensor:
        """See `ConsumerCriterion.rate`."""
        return torch.stack([_leverage(consumer, context) for consumer in consumers]).sum(0)


def _leverage(consumer: Consumer, context: Context) -> torch.Tensor:
    inverse, ridge = ridge_inverse(consumer, context)
    # C (C + λI)⁻¹ = I − λ (C + λI)⁻¹
    return consumer.sum_over_units(1 - ridge * inverse.diagonal())
