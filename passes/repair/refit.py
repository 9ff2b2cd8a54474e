"""Solve the layers that lost inputs again, by least squares against what the whole ones return."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import torch

from prunec.passes.analysis.narrowed import Narrowed
from prunec.passes.analysis.products import second_moments
from prunec.passes.analysis.ridge import ridge_of
from prunec.passes.contract import Context, CutRecord, Pass, PassError
from prunec.passes.ir import Program, language_feeds
from prunec.passes.ir.staged import StagedRun
from prunec.passes.repair.narrowed import found_again, left_as_cut, narrowed_contractions

_BATCH = 8  # windows a forward pass


@dataclass(frozen=True)
class Refit(Pass):
    """Refit every contraction whose inputs were cut to what the whole one would return.

    Layers are taken in order, and each sees what the cut and refitted layers before it produce.
    With Z all inputs that the whole layer would get there, X those that stay, W the whole weight
    and V its columns that stay, the new weight is V + D with
    D = argmin ‖X (V + D)ᵀ − Z Wᵀ‖² + λ‖D‖². λ is `ridge` times the mean of the diagonal of XᵀX.
    Products in float32 at least, sums and solution in float64.

    Each expert is a layer of its own, solved on the tokens that it is given; where some experts
    went, the others stay as the cut left them, and the run says so.

    It repairs the last cut, and "whole" is the program before that cut, repaired after earlier ones
    or not: the dense program's layers have inputs that this one never had, and what earlier cuts
    cost is no error of this one. Since a cut equals a mask, it all runs on the program before the
    cut, with the columns that went at zero in the layers already done, and every weight of a
    dropped branch. Cuts by which no contraction loses inputs (query/key dimensions) are not seen
    by the layers after them.

    Changes: the values of those weights.
    Keeps: every shape, every other weight; biases.

    Raises:
        PassError: nothing was cut before, there is no calibration text, or another pass rewrote
            since the cut what would be solved.
    """

    name = "refit"
    source = "least-squares core of OSSCAR (2403.12983) and ZipLM (2302.04089)"

    ridge: float = 0.001

    def __post_init__(self) -> None:
        if self.ridge <= 0:
            raise ValueError(f"ridge={self.ridge} must be above 0")

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        cut = context.require_cut(self.name)
        narrowed = narrowed_contractions(cut, context)
        windows = context.require_calibration(self.name)
        found_again(narrowed, program, cut, self.name)
        left = left_as_cut(cut, context)
        if left:
            context.notice(
                f"refit: {len(left)} sums over what was cut stay as the cut left them, for example "
                f"{left[0]}: their outputs were cut too, some of the experts went, or they are no "
                "products with one matrix for each row (convolutions)"
            )
        if not narrowed:
            return program
        uncut = cut.before
        feeds = [language_feeds(uncut.main, batch) for batch in windows.split(_BATCH)]
        names = [layer.contraction.node.name for layer in narrowed]
        held = {p for layer in narrowed if (p := layer.contraction.places) is not None}
        run = StagedRun(uncut, uncut.main, feeds, names, held)
        run.weights |= _dropped(cut)
        weights = {layer.contraction.weight for layer in narrowed}
        run.weights |= {name: run.weights[name].clone() for name in weights}
        changed = {name: program.weights[name].clone() for name in weights}
        shown = context.progress(narrowed, "Refit", len(narrowed))
        for _, layers in groupby(shown, key=lambda layer: layer.contraction.node):
            for layer in layers:
                contraction = layer.contraction
                solved = self._solve(layer, run, len(feeds), context)
                contraction.matrix(changed)[:] = solved
                matrix = contraction.matrix(run.weights)
                matrix[:, layer.goes], matrix[:, layer.stays] = 0, solved
            for node in contraction.gathering:
                for batch in range(len(feeds)):
                    run.repeat(node, batch)
        return context.repaired(program, program.with_weights(changed))

    @torch.no_grad()
    def _solve(
        self, layer: Narrowed, run: StagedRun, batches: int, context: Context
    ) -> torch.Tensor:
        """The new matrix of one layer, [out, inputs that stay]."""
        contraction = layer.contraction
        target = contraction.node.name
        matrix = contraction.matrix(run.weights)
        wide = torch.promote_types(matrix.dtype, torch.float32)
        gone = matrix[:, layer.goes].to(wide)
        gram = torch.zeros(len(layer.stays), len(layer.stays), dtype=torch.float64)
        cross = torch.zeros(len(layer.stays), len(matrix), dtype=torch.float64)
        tokens = 0
        for batch in range(batches):
            node = run.advance(target, batch)
            places = None if contraction.places is None else run.read(contraction.places, batch)
            inputs = run.operand(node, contraction.operand, batch)
            inputs = contraction.rows(inputs, places).to(wide)  # [tokens, in]
            x = inputs[:, layer.stays]
            lost = inputs[:, layer.goes] @ gone.T  # [tokens, out]
            gram += second_moments(x)
            cross += (x.T @ lost).double()
            tokens += len(x)
        if not (torch.isfinite(gram).all() and torch.isfinite(cross).all()):
            raise PassError(f"activations at {target} are not finite: check the checkpoint")
        gram.diagonal().add_(ridge_of(gram, tokens, self.ridge, target, context))
        step = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))  # [in, out]
        return (matrix[:, layer.stays].double() + step.T).to(matrix.dtype)


def _dropped(cut: CutRecord) -> dict[str, torch.Tensor]:
    """The weights that went whole, as zeros: their branches add nothing then."""
    kept, uncut = cut.after.parameters(), cut.before.parameters()
    return {name: torch.zeros_like(w) for name, w in uncut.items() if name not in kept}
