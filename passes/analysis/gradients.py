"""Gradients of the loss, one window of the calibration text after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from prunec.passes.analysis.loss import TextLoss
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program, execute, language_feeds


@dataclass(frozen=True)
class WindowGradient:
    """The gradient of the loss on one window.

    Attributes:
        tokens: How many predictions the loss is the sum of.
        summed: For each weight the gradient of that sum, as the weight.
    """

    tokens: int
    summed: Mapping[str, torch.Tensor]

    def mean(self, name: str) -> torch.Tensor:
        """The gradient of the loss per token."""
        return self.summed[name] / self.tokens


class GradientSums:
    """Add up gradients of windows, in the weights' own precision and at least float32."""

    def __init__(self) -> None:
        self._tokens = 0
        self._windows = 0
        self._summed: dict[str, torch.Tensor] = {}
        self._squares: dict[str, torch.Tensor] = {}

    def add(self, gradient: WindowGradient) -> None:
        """Add one window's."""
        self._tokens += gradient.tokens
        self._windows += 1
        for name, summed in gradient.summed.items():
            wide = summed.to(torch.promote_types(summed.dtype, torch.float32))
            if name not in self._summed:
                self._summed[name] = torch.zeros_like(wide)
                self._squares[name] = torch.zeros_like(wide)
            self._summed[name] += wide
            self._squares[name].addcmul_(wide, wide, value=1 / gradient.tokens**2)

    def summed(self, name: str) -> torch.Tensor:
        """The gradient of the loss summed over the text."""
        return self._summed[name]

    def mean(self, name: str) -> torch.Tensor:
        """The gradient of the loss per token of the text."""
        return self._summed[name] / self._tokens

    def curvature(self, name: str) -> torch.Tensor:
        """The mean over windows of the squared gradient per token: the empirical Fisher diagonal.

        Source: Ma et al. 2023, arXiv 2305.11627, eq. 4; a window is their sample.
        """
        return self._squares[name] / self._windows


def sum_gradients(
    program: Program, names: Sequence[str], context: Context, wanted_by: str
) -> GradientSums:
    """Add up the gradients of all windows; see `stream_gradients`."""
    sums = GradientSums()
    for window in stream_gradients(program, names, context, wanted_by):
        sums.add(window)
    return sums


def stream_gradients(
    program: Program, names: Sequence[str], context: Context, wanted_by: str
) -> Iterator[WindowGradient]:
    """Give the gradient of one window after another: one backward pass each.

    Args:
        program: A model of text; see `TextLoss` for the loss.
        names: The weights.
        context: Has the text and shows the progress.
        wanted_by: For the message where there is no text.

    Raises:
        PassError: there is no text, the program returns nothing to take a loss of, the loss does
            not depend on a weight, or a gradient is not finite.
    """
    windows = context.require_calibration(wanted_by).split(1)
    loss = TextLoss(program, context.seed, wanted_by)
    leaves = {name: program.weights[name].detach().requires_grad_(True) for name in names}
    learning = program.with_weights(leaves)
    for window in context.progress(windows, "Gradients", len(windows)):
        found = loss(execute(learning, language_feeds(program.main, window)), window)
        grads = torch.autograd.grad(found.total, list(leaves.values()), allow_unused=True)
        yield WindowGradient(
            found.predictions, dict(zip(names, map(_finite, grads, names), strict=True))
        )


def _finite(gradient: torch.Tensor | None, name: str) -> torch.Tensor:
    if gradient is None or not torch.isfinite(gradient).all():
        raise PassError(f"the loss has no finite gradient for {name}")
    return gradient
