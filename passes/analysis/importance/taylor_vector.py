"""Score by what the loss would change, to first order, weights taken together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.gradients import sum_gradients
from prunec.passes.analysis.importance.elementwise import weights_of
from prunec.passes.analysis.importance.scores import Criterion, Scores, sum_of_vectors
from prunec.passes.contract import Context
from prunec.passes.ir import Program


@final
class TaylorVector(Criterion):
    """The sum over matrices of |Σ weight × gradient|, Σ over what of the matrix is the unit's.

    What one element adds and another takes away cancels, unlike in `taylor`.
    """

    name = "taylor-vector"
    source = "Ma et al. 2023, arXiv 2305.11627, eq. 3, vector-wise (vectorize)"

    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> Scores:
        """See `Criterion.score`."""
        names = weights_of(structures)
        gradients = sum_gradients(program, names, context, f"criterion={self.name}")
        changes = {n: program.weights[n].detach() * gradients.summed(n) for n in names}
        return Scores(self.name, sum_of_vectors(changes, coupling, structures))
