"""Score by the error that is left after the best repair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from prunec.passes.analysis.importance.consumers import Consumer, ConsumerCriterion
from prunec.passes.analysis.importance.removal import LayerState
from prunec.passes.analysis.importance.ridge import ridge_inverse
from prunec.passes.contract import Context


@final
class ObsLoss(ConsumerCriterion):
    """How much a layer's squared output error grows if one unit goes and the rest is refitted.

    With X its inputs, H = XᵀX (damped), B = Wᵀ and g the inputs of the unit, the growth is
    ½ tr(B_gᵀ (H⁻¹_gg)⁻¹ B_g). Exact for one unit; for several at once it leaves out what they
    could have done for one another (see `obs-greedy`), so it fits structures of few large units.
    """

    name = "obs"
    source = "Kurtic et al. 2023, arXiv 2302.04089 (ZipLM), eq. 3"
    needs_second_moments = True

    def rate(self, consumers: Sequence[Consumer], context: Context) -> torch.Tensor:
        """See `ConsumerCriterion.rate`."""
        return torch.stack([s.losses() for s in layer_states(consumers, context)]).sum(0)


def layer_states(consumers: Sequence[Consumer], context: Context) -> list[LayerState]:
    """For each consumer of a structure the state in which nothing is removed."""
    return [LayerState(ridge_inverse(c, context)[0], c.matrix, c.unit, c.size) for c in consumers]
