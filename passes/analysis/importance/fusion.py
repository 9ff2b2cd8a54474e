"""Fuse scores of one thing by the noise that each is taken to have."""

from __future__ import annotations

import torch

from prunec.passes.contract import PassError

_STEPS = 400
_RATE = 0.5  # of a logarithm; falls to zero, so a mean of 10⁻³⁰ is reached and settled on


def learn_log_variances(scores: torch.Tensor) -> torch.Tensor:
    """Learn the variance of each way to score, by Adam on its logarithm.

    Minimises, over the population, the mean of Σᵢ scoreᵢ / (2σᵢ²) + log σᵢ: the loss of several
    tasks with Gaussian noise. Its minimum is σᵢ² = mean of scoreᵢ. Starts where σᵢ² is the
    largest scoreᵢ and draws nothing, so it is deterministic.

    Source: Kendall et al. 2018, arXiv 1705.07115, eq. 7.

    Args:
        scores: [ways, population], float64, not negative.

    Returns:
        log σ², [ways], float64.

    Raises:
        PassError: one way scores everything zero, so that its variance has no minimum.
    """
    largest = scores.amax(1)
    if not (largest > 0).all():
        raise PassError("every importance is zero: the loss does not depend on these weights")
    means = scores.mean(1) / largest
    logs = torch.zeros(len(scores), dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logs], lr=_RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, _STEPS)
    for _ in range(_STEPS):
        loss = (means * torch.exp(-logs) + logs).sum() / 2
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    return logs.detach() + largest.log()


def fuse(scores: torch.Tensor, log_variances: torch.Tensor) -> torch.Tensor:
    """Σᵢ scoreᵢ / (2σᵢ²): [ways, units] and [ways] -> [units].

    The term log(σ₁σ₂) is the same for the whole population and left out.
    """
    return (scores * torch.exp(-log_variances)[:, None]).sum(0) / 2
