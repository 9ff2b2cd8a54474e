"""Score by the error that a unit adds when it goes in its turn, all worse ones being gone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from prunec.passes.analysis.importance.consumers import Consumer, ConsumerCriterion
from prunec.passes.analysis.importance.obs import layer_states
from prunec.passes.analysis.importance.removal import LayerState
from prunec.passes.contract import Context

_ROUNDS = 64  # in which the units of one input each are removed; larger units go one by one


class ObsGreedy(ConsumerCriterion):
    """How much a layer's squared output error grows when a unit goes in a greedy order.

    The units with the least loss (see `obs`) go first, the rest is refitted, and so on until
    none is left. A unit's score is the growth of the error when it went, and never less than
    that of a unit that went before it: sorting by score gives the order of removal.
    """

    name = "obs-greedy"
    source = "Meng et al. 2024, arXiv 2403.12983 (OSSCAR), with the loss of ZipLM (2302.04089)"
    needs_second_moments = True

    def rate(self, consumers: Sequence[Consumer], context: Context) -> torch.Tensor:
        """See `ConsumerCriterion.rate`."""
        is_fine = all(consumer.inputs_per_unit().max() == 1 for consumer in consumers)
        size = consumers[0].size
        batch = max(1, size // _ROUNDS) if is_fine else 1
        return scores_in_order(*removal_order(layer_states(consumers, context), size, batch))


def scores_in_order(order: torch.Tensor, growth: torch.Tensor) -> torch.Tensor:
    """Give each unit its growth, raised where need be for each to score above those before it.

    Args:
        order: The units in the order in which they went: [size].
        growth: Of the loss with each of them: [size].

    Returns:
        The score of each unit by its number: [size], float64.
    """
    result = torch.zeros(len(order), dtype=torch.float64)
    least = 0.0
    for unit, loss in zip(order.tolist(), growth.tolist(), strict=True):
        least = max(loss, math.nextafter(least, math.inf))  # equal scores would lose the order
        result[unit] = least
    return result


def removal_order(
    states: Sequence[LayerState], size: int, batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Remove all units from these layers, the least loss first.

    Args:
        states: The layers that sum over the structure; nothing is left of them.
        size: How many units there are.
        batch: How many go between two looks at the losses.

    Returns:
        The units in the order in which they went, and how much the loss of all layers together
        grew with each: [size] both.
    """
    order, growth = [], []
    for start in range(0, size, batch):
        losses = torch.stack([state.losses() for state in states]).sum(0)
        chosen = torch.argsort(losses, stable=True)[: min(batch, size - start)]
        order.append(chosen)
        growth.append(torch.stack([state.remove(chosen) for state in states]).sum(0))
    return torch.cat(order), torch.cat(growth)
