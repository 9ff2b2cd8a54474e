"""Solve the layers that lost inputs again, by least squares against what the whole ones return."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import Program, language_feeds
from prunec.passes.ir.staged import StagedRun
from prunec.passes.repair.narrowed import Narrowed, narrowed_contractions

_BATCH = 8  # windows a forward pass


@dataclass(frozen=True)
class Refit(Pass):
    """Refit every contraction whose inputs were cut to what the whole one would return.

    Layers are taken in order, and each sees what the cut and refitted layers before it produce.
    With Z all inputs that the whole layer would get there, X those that stay, W the whole weight
    and V its columns that stay, the new weight is V + D with
    D = argmin ‖X (V + D)ᵀ − Z Wᵀ‖² + λ‖D‖². λ is `ridge` times the mean of the diagonal of XᵀX.
    Sums and solution in float64.

    Since a cut equals a mask, it all runs on the uncut program, with the columns that went at
    zero in the layers already done.

    Changes: the values of those weights.
    Keeps: every shape, every other weight; biases.

    Raises:
        PassError: nothing was cut before, or there is no calibration text.
    """

    name = "refit"
    source = "least-squares core of OSSCAR (2403.12983) and ZipLM (2302.04089)"

    ridge: float = 0.001

    def __post_init__(self) -> None:
        if self.ridge <= 0:
            raise ValueError(f"ridge={self.ridge} must be above 0")

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        narrowed = narrowed_contractions(program, context)
        windows = context.require_calibration("refit")
        if not narrowed:
            return program
        reference = context.reference
        assert reference is not None
        feeds = [language_feeds(reference.main, batch) for batch in windows.split(_BATCH)]
        names = [layer.contraction.node.name for layer in narrowed]
        run = StagedRun(reference, reference.main, feeds, names)
        changed: dict[str, torch.Tensor] = {}
        for layer in context.progress(narrowed, "Refit", len(narrowed)):
            contraction = layer.contraction
            matrix = contraction.matrix(run.weights)
            masked = torch.zeros_like(matrix)
            masked[:, layer.stays] = self._solve(layer, run, len(feeds), context)
            run.weights[contraction.weight] = contraction.stored(masked)
            changed[contraction.weight] = contraction.stored(masked[:, layer.stays].contiguous())
        return program.with_weights(changed)

    @torch.no_grad()
    def _solve(
        self, layer: Narrowed, run: StagedRun, batches: int, context: Context
    ) -> torch.Tensor:
        """The new matrix of one layer, [out, inputs that stay]."""
        contraction = layer.contraction
        target = contraction.node.name
        matrix = contraction.matrix(run.weights)
        gram = torch.zeros(len(layer.stays), len(layer.stays), dtype=torch.float64)
        cross = torch.zeros(len(layer.stays), len(matrix), dtype=torch.float64)
        tokens = 0
        for batch in range(batches):
            node = run.advance(target, batch)
            inputs = run.operand(node, contraction.operand, batch)
            inputs = inputs.reshape(-1, inputs.shape[-1])  # [tokens, in]
            x = inputs[:, layer.stays]
            lost = inputs[:, layer.goes] @ matrix[:, layer.goes].T  # [tokens, out]
            gram += (x.T @ x).double()
            cross += (x.T @ lost).double()
            tokens += len(x)
        if not (torch.isfinite(gram).all() and torch.isfinite(cross).all()):
            raise PassError(f"activations at {target} are not finite: check the checkpoint")
        gram.diagonal().add_(self._damping(gram, tokens, target, context))
        step = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))  # [in, out]
        return (matrix[:, layer.stays].double() + step.T).to(matrix.dtype)

    def _damping(self, gram: torch.Tensor, tokens: int, target: str, context: Context) -> float:
        """The ridge; more of it where there are fewer tokens than inputs."""
        lack = max(1.0, len(gram) / tokens)
        if lack > 1:
            context.notice(
                f"refit: {target} has {len(gram)} inputs and the calibration text {tokens} "
                f"tokens: the ridge is {lack:.1f} times what it would be; give it more text"
            )
        return lack * self.ridge * max(float(gram.diagonal().mean()), 1e-30)
