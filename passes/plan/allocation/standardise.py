"""Make scores of different structures comparable."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch


def z_score(values: torch.Tensor) -> torch.Tensor:
    """Deviations from the mean in standard deviations; zeros where all are equal."""
    spread = values.std(correction=0)
    return (values - values.mean()) / spread if spread > 0 else torch.zeros_like(values)


def by_mean(values: torch.Tensor) -> torch.Tensor:
    """Shares of the mean; zeros where that is zero."""
    mean = values.abs().mean()
    return values / mean if mean > 0 else torch.zeros_like(values)


def by_rank(values: torch.Tensor) -> torch.Tensor:
    """Places in the order, 0 the worst and 1 the best; of equals the earlier is better."""
    ranks = torch.empty_like(values)
    best_first = torch.argsort(values, descending=True, stable=True)
    ranks[best_first] = torch.linspace(1, 0, len(values), dtype=values.dtype)
    return ranks


STANDARDS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "z-score": z_score,
    "mean": by_mean,
    "rank": by_rank,
    "none": torch.Tensor.double,
}
"""Ways to standardise the scores of one structure: [size] to [size]."""
