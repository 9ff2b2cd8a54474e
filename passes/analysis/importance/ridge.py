"""Second moments with the ridge that makes them invertible."""

from __future__ import annotations

import torch

from prunec.passes.analysis.importance.consumers import Consumer
from prunec.passes.analysis.ridge import ridge_of
from prunec.passes.contract import Context

DAMPING = 0.001
"""The ridge as a share of the mean of the diagonal, as in the refit that follows."""


def ridge_inverse(consumer: Consumer, context: Context) -> tuple[torch.Tensor, float]:
    """(XᵀX + λI)⁻¹ of a consumer's inputs X: [in, in], float64; and λ."""
    damped = consumer.moments.require_second().clone()
    layer = consumer.contraction.node.name
    ridge = ridge_of(damped, consumer.moments.tokens, DAMPING, layer, context)
    damped.diagonal().add_(ridge)
    return torch.cholesky_inverse(torch.linalg.cholesky(damped)), ridge
