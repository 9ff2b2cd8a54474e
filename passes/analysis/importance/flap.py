"""Score by how much a unit's activations fluctuate around what a bias can stand in for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from prunec.passes.analysis.importance.consumers import Consumer, ConsumerCriterion
from prunec.passes.contract import Context


@final
class Flap(ConsumerCriterion):
    """The variance of each input times the sum of the squared weights that it meets (WIFV).

    Units of several inputs, such as heads, get the mean over their inputs of the squared value,
    as in the authors' code. Only comparable within a layer until it is standardised.
    """

    name = "flap"
    source = "An et al. 2023, arXiv 2312.11983 (FLAP), eq. 5, and its code, lib/prune.py"

    def rate(self, consumers: Sequence[Consumer], context: Context) -> torch.Tensor:
        """See `ConsumerCriterion.rate`."""
        return torch.stack([_wifv(consumer) for consumer in consumers]).sum(0)


def _wifv(consumer: Consumer) -> torch.Tensor:
    metric = consumer.moments.variance * consumer.column_squares()  # [in]
    counts = consumer.inputs_per_unit()
    if counts.max() == 1:
        return consumer.sum_over_units(metric)
    return consumer.sum_over_units(metric.square()) / counts
