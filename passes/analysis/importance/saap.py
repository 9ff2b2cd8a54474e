"""Score by vector- and element-wise importance, weighted by how far each can be relied on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import final

import torch

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.gradients import GradientSums, WindowGradient, stream_gradients
from prunec.passes.analysis.importance.elementwise import weights_of
from prunec.passes.analysis.importance.fusion import fuse, learn_log_variances
from prunec.passes.analysis.importance.scores import (
    Criterion,
    Scores,
    sum_of_vectors,
    sum_of_weight_scores,
)
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program

_Pair = Mapping[str, torch.Tensor]
"""For each structure the vector-wise importance and the element-wise one: [2, size], float64."""


@final
class Saap(Criterion):
    """Fused vector- and element-wise Taylor importance, and how much it moves with the text.

    A reconstruction: the paper's formulas were not to be had. With δ = gw − ½hw² of a weight,
    where g is the loss's gradient per token and h the mean over windows of its square, the
    vector-wise importance of a unit is the sum over matrices of |Σδ|, the element-wise one
    that of Σ|δ|. They are fused as two tasks of unknown constant noise are (see `fusion`), one
    noise for each kind of structure and importance, learned over all units of the kind.

    The fluctuation of a unit is the standard deviation over windows of its fused importance in
    one window alone, divided by its mean: what the paper's stability ranking is taken from here.
    """

    name = "saap"
    source = (
        "a reconstruction of Zheng et al. 2024, arXiv 2412.15127 (SAAP), from Ma et al. 2023 "
        "(2305.11627), eq. 3 and 4, and Kendall et al. 2018 (1705.07115), eq. 7"
    )

    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> Scores:
        """See `Criterion.score`.

        Raises:
            PassError: there are fewer than two windows of text, or no importance is above zero.
        """
        wanted_by = f"criterion={self.name}"
        windows = len(context.require_calibration(wanted_by))
        if windows < 2:
            raise PassError(f"{wanted_by} compares windows of the text and there are {windows}")
        names = weights_of(structures)
        sums = GradientSums()
        singles: list[_Pair] = []
        for window in stream_gradients(program, names, context, wanted_by):
            sums.add(window)
            singles.append(_importance(_changes(program, window), coupling, structures))
        whole = {n: _change(program.weights[n], sums.mean(n), sums.curvature(n)) for n in names}
        pairs = _importance(whole, coupling, structures)
        variances = _learn(pairs, structures)
        fused, fluctuation = {}, {}
        for structure in structures:
            variance = variances[structure.kind]
            fused[structure.name] = fuse(pairs[structure.name], variance)
            alone = torch.stack([fuse(single[structure.name], variance) for single in singles])
            fluctuation[structure.name] = alone.std(0) / alone.mean(0).clamp_min(1e-30)
        return Scores(self.name, fused, fluctuation)


def _changes(program: Program, window: WindowGradient) -> dict[str, torch.Tensor]:
    """What the loss of one window would change without each element of each weight."""
    gradients = {name: window.mean(name) for name in window.summed}
    return {n: _change(program.weights[n], g, g.square()) for n, g in gradients.items()}


def _change(weight: torch.Tensor, gradient: torch.Tensor, curvature: torch.Tensor) -> torch.Tensor:
    weight = weight.detach()
    return gradient * weight - weight.square() * curvature / 2


def _importance(
    changes: Mapping[str, torch.Tensor], coupling: Coupling, structures: Sequence[Structure]
) -> _Pair:
    vectors = sum_of_vectors(changes, coupling, structures)
    sizes = {name: change.abs() for name, change in changes.items()}
    elements = sum_of_weight_scores(sizes, coupling, structures)
    return {s.name: torch.stack([vectors[s.name], elements[s.name]]) for s in structures}


def _learn(pairs: _Pair, structures: Sequence[Structure]) -> dict[str, torch.Tensor]:
    """For each kind the log-variances of both importances, over all units of the kind."""
    by_kind: dict[str, list[torch.Tensor]] = defaultdict(list)
    for structure in structures:
        by_kind[structure.kind].append(pairs[structure.name])
    return {kind: learn_log_variances(torch.cat(found, 1)) for kind, found in by_kind.items()}
