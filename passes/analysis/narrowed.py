"""The contractions that a selection takes inputs from."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from prunec.passes.analysis.contractions import Contraction
from prunec.passes.analysis.coupling import Coupling
from prunec.passes.analysis.expert_contractions import all_contractions
from prunec.passes.ir import Program
from prunec.passes.ir.axes import size
from prunec.passes.ir.selection import Selection, is_cut, kept


@dataclass(frozen=True)
class Narrowed:
    """A contraction that is left with fewer inputs to sum over.

    Attributes:
        contraction: Of the program before the cut.
        stays: The inputs that stay, ascending: [kept], int64.
        goes: The others.
    """

    contraction: Contraction
    stays: torch.Tensor
    goes: torch.Tensor


def narrowed_by(program: Program, coupling: Coupling, selection: Selection) -> list[Narrowed]:
    """The contractions of an uncut program that lose inputs by a selection, in graph order."""
    result = []
    for contraction in all_contractions(program.main):
        summed = coupling.weight_axes[contraction.weight][contraction.summed]
        if is_cut(summed, selection):
            stays = torch.from_numpy(kept(summed, selection, contraction.expert or 0))
            goes = torch.ones(size(summed), dtype=torch.bool)
            goes[stays] = False
            result.append(Narrowed(contraction, stays, torch.nonzero(goes)[:, 0]))
    return result
