"""Score by what the loss would change, to first order."""

from __future__ import annotations

from typing import final

import torch

from prunec.passes.analysis.gradients import GradientSums
from prunec.passes.analysis.importance.elementwise import ElementCriterion


@final
class Taylor(ElementCriterion):
    """The sum of |weight × gradient| over all weights that go with a unit.

    The gradient is that of the loss (`prunec.passes.analysis.loss`), summed over the text.
    """

    name = "taylor"
    source = "Ma et al. 2023, arXiv 2305.11627, eq. 3 (param_first)"

    def element(self, weight: torch.Tensor, gradients: GradientSums, name: str) -> torch.Tensor:
        """See `ElementCriterion.element`."""
        return (weight * gradients.summed(name)).abs()
