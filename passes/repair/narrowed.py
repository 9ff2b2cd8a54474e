"""The contractions that a cut left with fewer inputs and with outputs to aim at."""

from __future__ import annotations

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.narrowed import Narrowed, narrowed_by
from prunec.passes.contract import Context, PassError, PlanError, explained
from prunec.passes.ir import Program
from prunec.passes.ir.selection import is_cut


def narrowed_contractions(program: Program, context: Context) -> list[Narrowed]:
    """The contractions of the program before the cut that lost inputs, in graph order.

    Those whose outputs were cut as well have nothing to aim at and are left out, and so are
    those of branches that went whole.

    Raises:
        PassError: nothing was cut before in this run.
    """
    if context.reference is None or context.plan is None:
        raise PassError("there is no cut to repair: put the repair after remove-structures")
    coupling = context.analyse(find_structures, context.reference)
    with explained(PlanError, "the plan of this run is not that of the cut"):
        selection = context.plan.selection(context.reference, coupling)
    result = []
    for layer in narrowed_by(context.reference, coupling, selection):
        weight, summed = layer.contraction.weight, layer.contraction.summed
        if weight in program.weights and not is_cut(
            coupling.weight_axes[weight][1 - summed], selection
        ):
            result.append(layer)
    return result
