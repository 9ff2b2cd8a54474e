"""Score by the growth of the model's loss when a unit goes in its turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch

from prunec.passes.analysis.contractions import Contraction
from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.importance.consumers import in_order, require_readers
from prunec.passes.analysis.importance.obs_greedy import ObsGreedy
from prunec.passes.analysis.importance.scores import Scores
from prunec.passes.analysis.sensitivity import output_sensitivities
from prunec.passes.contract import Context
from prunec.passes.ir import Program


@final
class ObsFisher(ObsGreedy):
    """How much the model's loss grows, to second order, when a unit goes in a greedy order.

    As `obs-greedy`, with a layer's output errors δ weighed by ½ δᵀ G δ, G the second moments of
    the loss's gradient at these outputs. The refit itself does not depend on G; which units go
    does. Scores are in nats over the calibration text for every layer and kind, so
    ``allocate{method=global,standardise=none}`` can compare them.
    """

    name = "obs-fisher"
    source = "OSSCAR (2403.12983) under the Fisher factors of LLM Surgeon (2312.17244), eq. 5 to 7"

    def __init__(self) -> None:
        self._factors: Mapping[Contraction, torch.Tensor] = {}

    def score_on(
        self,
        fed: Program,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> Scores:
        """See `InputsCriterion.score_on`."""
        wanted = in_order(require_readers(program.main, structures), program.main)
        moments = output_sensitivities(fed, wanted, context, f"criterion={self.name}")
        self._factors = {contraction: _root(moments[contraction]) for contraction in wanted}
        return super().score_on(fed, program, coupling, structures, context)

    def weigh(self, contraction: Contraction, matrix: torch.Tensor) -> torch.Tensor:
        """See `ConsumerCriterion.weigh`."""
        return self._factors[contraction] @ matrix.double()


def _root(moments: torch.Tensor) -> torch.Tensor:
    """The symmetric square root of second moments, in float64."""
    values, vectors = torch.linalg.eigh(moments.double())
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
