"""Score by the error that is left after the best repair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.importance.consumers import (
    Consumer,
    require_consumers,
    sum_over_text,
)
from prunec.passes.analysis.importance.scores import Criterion
from prunec.passes.contract import Context
from prunec.passes.ir import Program
from prunec.passes.ir.selection import unit_of

_DAMPING = 0.001  # of the mean of the diagonal, as in the refit that follows


@final
class ObsLoss(Criterion):
    """How much a layer's squared output error grows if one unit goes and the rest is refitted.

    With X its inputs, H = XᵀX (damped), B = Wᵀ and g the inputs of the unit, the growth is
    ½ tr(B_gᵀ (H⁻¹_gg)⁻¹ B_g). Exact for one unit; for several at once it leaves out what they
    could have done for one another, so it fits structures of few large units best: KV groups.
    """

    name = "obs"
    source = "Kurtic et al. 2023, arXiv 2302.04089 (ZipLM), eq. 3"

    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> dict[str, torch.Tensor]:
        """See `Criterion.score`."""
        consumers = require_consumers(program.main, structures)
        grams = sum_over_text(program, consumers, lambda x: x.T @ x, context, "criterion=obs")
        result = {s.name: torch.zeros(s.size, dtype=torch.float64) for s in structures}
        for consumer in consumers:
            weight = program.weights[consumer.member.weight].double()
            loss = _loss(grams[consumer.node], weight, _units(consumer, coupling))
            result[consumer.structure.name] += loss
        return result


def _units(consumer: Consumer, coupling: Coupling) -> list[torch.Tensor]:
    """For each unit the inputs of the layer that go with it."""
    axis = coupling.weight_axes[consumer.member.weight][consumer.member.dim]
    units = torch.from_numpy(unit_of(axis, consumer.structure.atom))
    return [torch.nonzero(units == unit)[:, 0] for unit in range(consumer.structure.size)]


def _loss(gram: torch.Tensor, weight: torch.Tensor, units: list[torch.Tensor]) -> torch.Tensor:
    """Loss growth of each unit: gram [in, in], weight [out, in] -> [units], float64."""
    damped = gram.clone()
    damped.diagonal().add_(_DAMPING * damped.diagonal().mean().clamp_min(1e-30))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    losses = []
    for inputs in units:
        block = inverse[inputs][:, inputs]
        columns = weight[:, inputs]  # [out, inputs of the unit]
        solved = torch.cholesky_solve(columns.T, torch.linalg.cholesky(block))
        losses.append((columns.T * solved).sum() / 2)
    return torch.stack(losses)
