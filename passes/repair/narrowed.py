"""The contractions that lost inputs to a cut, each with what is left of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from prunec.passes.analysis.contractions import Contraction, contractions
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, PassError, explained
from prunec.passes.ir import Program
from prunec.passes.ir.axes import size
from prunec.passes.ir.selection import is_cut, kept
from prunec.passes.plan import PlanError


@dataclass(frozen=True)
class Narrowed:
    """A contraction that sums over fewer inputs than it did.

    Attributes:
        contraction: Of the program before the cut.
        stays: The inputs that stay, ascending: [kept], int64.
        goes: The others.
    """

    contraction: Contraction
    stays: torch.Tensor
    goes: torch.Tensor


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
    for contraction in contractions(context.reference.main):
        axes = coupling.weight_axes[contraction.weight]
        summed = axes[contraction.summed]
        is_narrowed = is_cut(summed, selection) and not is_cut(
            axes[1 - contraction.summed], selection
        )
        if is_narrowed and contraction.weight in program.weights:
            stays = torch.from_numpy(kept(summed, selection))
            goes = torch.ones(size(summed), dtype=torch.bool)
            goes[stays] = False
            result.append(Narrowed(contraction, stays, torch.nonzero(goes)[:, 0]))
    return result
