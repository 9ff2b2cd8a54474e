"""Score by the weights alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.importance.scores import Criterion, Scores, sum_of_weight_scores
from prunec.passes.contract import Context
from prunec.passes.ir import Program


@final
class Magnitude(Criterion):
    """The L2 norm of all weights that go with a unit. Needs no text.

    Known to be worse than chance for coupled structures of language models (Ma et al. 2023,
    table 1, "L2"); here as the baseline.
    """

    name = "magnitude"
    source = "Ma et al. 2023, arXiv 2305.11627, table 1 (baseline L2)"

    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> Scores:
        """See `Criterion.score`."""
        names = {member.weight for structure in structures for member in structure.members}
        squares = {name: program.weights[name].double().square() for name in names}
        sums = sum_of_weight_scores(squares, coupling, structures)
        return Scores(self.name, {name: total.sqrt() for name, total in sums.items()})
