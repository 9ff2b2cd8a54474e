"""Score by what the loss would change, the term of second order alone."""

from __future__ import annotations

from typing import final

import torch

from prunec.passes.analysis.gradients import GradientSums
from prunec.passes.analysis.importance.elementwise import ElementCriterion


@final
class TaylorSecond(ElementCriterion):
    """The sum of ½ weight² × curvature over all weights that go with a unit.

    The curvature is the mean over windows of the squared gradient (see `GradientSums`). The
    authors' code leaves out the ½, which changes no order.
    """

    name = "taylor-second"
    source = "Ma et al. 2023, arXiv 2305.11627, eq. 4 (param_second)"

    def element(self, weight: torch.Tensor, gradients: GradientSums, name: str) -> torch.Tensor:
        """See `ElementCriterion.element`."""
        return weight.square() * gradients.curvature(name) / 2
