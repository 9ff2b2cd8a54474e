"""Second moments with the ridge that makes them invertible."""

from __future__ import annotations

import torch

from prunec.passes.analysis.importance.consumers import Consumer
from prunec.passes.contract import Context

DAMPING = 0.001
"""The ridge as a share of the mean of the diagonal, as in the refit that follows."""


def ridge_inverse(consumer: Consumer, context: Context) -> tuple[torch.Tensor, float]:
    """(XᵀX + λI)⁻¹ of a consumer's inputs X: [in, in], float64; and λ.

    With fewer tokens than inputs XᵀX is singular, and what the ridge adds is all that stands
    against removing anything: it grows by inputs / tokens then, and the run says so.
    """
    damped = consumer.moments.require_second().clone()
    lack = max(1.0, len(damped) / consumer.moments.tokens)
    if lack > 1:
        context.notice(
            f"{consumer.contraction.node.name} has {len(damped)} inputs and the calibration text "
            f"{consumer.moments.tokens} tokens: the ridge is {lack:.1f} times what it would be; "
            "more text gives better scores"
        )
    ridge = lack * DAMPING * max(float(damped.diagonal().mean()), 1e-30)
    damped.diagonal().add_(ridge)
    return torch.cholesky_inverse(torch.linalg.cholesky(damped)), ridge
