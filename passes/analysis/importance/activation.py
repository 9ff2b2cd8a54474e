"""Score by the activations that a unit sends into the linear layers that consume it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import final

import torch

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.importance.consumers import require_consumers, sum_over_text
from prunec.passes.analysis.importance.scores import Criterion, sum_over_units
from prunec.passes.contract import Context
from prunec.passes.ir import Program


class _ConsumedActivation(Criterion):
    """Adds up what a unit sends into each linear layer that sums over it."""

    @abstractmethod
    def weigh(self, squares: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Weigh the sums of squared inputs, [in], by the layer's weight, [out, in]."""

    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> dict[str, torch.Tensor]:
        """See `Criterion.score`."""
        consumers = require_consumers(program.main, structures)
        squares = sum_over_text(
            program, consumers, lambda x: x.square().sum(0), context, f"criterion={self.name}"
        )
        result = {s.name: torch.zeros(s.size, dtype=torch.float64) for s in structures}
        for consumer in consumers:
            member, structure = consumer.member, consumer.structure
            weighed = self.weigh(squares[consumer.node], program.weights[member.weight])
            result[structure.name] += sum_over_units(weighed, member, structure, coupling)
        return {name: total.sqrt() for name, total in result.items()}


@final
class Activation(_ConsumedActivation):
    """The L2 norm over all tokens of a unit's activations where a linear layer sums over it.

    Transitional activations: the input of the output projection for heads, of the down
    projection for feed-forward channels.
    """

    name = "activation"
    source = "Shen et al. 2024, arXiv 2407.05690 (TransAct), section 3.2"

    def weigh(self, squares: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Take the inputs as they are."""
        return squares


@final
class Wanda(_ConsumedActivation):
    """The same with each input times the norm of the weights that it meets.

    That is what the unit contributes to the layer's output if inputs are uncorrelated.
    """

    name = "wanda"
    source = "Sun et al. 2023, arXiv 2306.11695, eq. 1, summed over structures (Wanda-sp)"

    def weigh(self, squares: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Multiply each input's square with that of its column's norm."""
        return squares * weight.double().square().sum(0)
