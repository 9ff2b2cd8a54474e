"""Score by what the loss would change, to second order."""

from __future__ import annotations

from typing import final

import torch

from prunec.passes.analysis.gradients import GradientSums
from prunec.passes.analysis.importance.elementwise import ElementCriterion


@final
class TaylorMixed(ElementCriterion):
    """The sum of |weight × gradient − ½ weight² × curvature| over all weights of a unit.

    Gradient and curvature (see `GradientSums`) are those of the loss per token.
    """

    name = "taylor-mixed"
    source = "Ma et al. 2023, arXiv 2305.11627, eq. 4 (param_mix)"

    def element(self, weight: torch.Tensor, gradients: GradientSums, name: str) -> torch.Tensor:
        """See `ElementCriterion.element`."""
        first = weight * gradients.mean(name)
        return (first - weight.square() * gradients.curvature(name) / 2).abs()
