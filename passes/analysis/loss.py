"""The loss whose gradients say what the outputs of a program are worth, whatever they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from prunec.passes.contract import PassError
from prunec.passes.ir import Port, Program, Role


@dataclass(frozen=True)
class WindowLoss:
    """The loss on one window.

    Attributes:
        total: Summed over what is predicted, a scalar.
        predictions: How many those are.
    """

    total: torch.Tensor
    predictions: int


class TextLoss:
    """The loss of a program on windows of text, one after another.

    A model that generates predicts the next token of the text. Any other has no label for what
    it returns, so that labels are drawn from its own predictions: for a calibrated model
    they are distributed as true ones, and the second moments of their gradients are the Fisher
    matrix itself. Outputs that are no logits of several classes (hidden states, the one number
    of a regression) are taken as means of normal distributions of variance one.

    Args:
        program: What is run.
        seed: Of the labels that are drawn.
        wanted_by: For the message.

    Raises:
        PassError: it returns nothing that a loss can be taken of, or a language model several
            outputs of logits.

    Source: Kunstner et al. 2019, arXiv 1905.12558, eq. 2 and 3, on drawn labels.
    """

    def __init__(self, program: Program, seed: int, wanted_by: str) -> None:
        entry = program.main
        logits = entry.ports(Role.LOGITS)[1]
        self._predicts_next = program.predicts_next
        self._ports = logits or [p for p in entry.outputs if _is_state(p)]
        self._generator = torch.Generator().manual_seed(seed)
        if not self._ports or (self._predicts_next and len(logits) != 1):
            names = [port.name for port in entry.outputs]
            raise PassError(
                f"{wanted_by} needs logits or hidden states, of a language model one output of "
                f"logits, and this program returns {names}: use criterion=wanda"
            )

    def __call__(self, outputs: Mapping[str, torch.Tensor], window: torch.Tensor) -> WindowLoss:
        """The loss on a window, [text, token], of which a run gave these outputs by name."""
        if self._predicts_next:
            logits = outputs[self._ports[0].name][:, :-1]
            return _cross_entropy(logits, window[:, 1:].flatten())
        losses = [self._drawn(port, outputs[port.name]) for port in self._ports]
        total = torch.stack([loss.total for loss in losses]).sum()
        return WindowLoss(total, sum(loss.predictions for loss in losses))

    def _drawn(self, port: Port, output: torch.Tensor) -> WindowLoss:
        """The loss of one output against what is drawn from it."""
        wide = output.to(torch.promote_types(output.dtype, torch.float32))
        if port.role is not Role.LOGITS or port.shape[-1] == 1:  # a single number is no class
            noise = torch.randn(wide.shape, generator=self._generator, dtype=wide.dtype)
            difference = wide - (wide + noise).detach()
            return WindowLoss(difference.square().sum() / 2, wide[..., 0].numel())
        chances = wide.detach().flatten(0, -2).softmax(-1)
        if not torch.isfinite(chances).all():  # nothing can be drawn; whoever reads it sees it
            return WindowLoss(wide.sum() * torch.nan, len(chances))
        labels = torch.multinomial(chances, 1, generator=self._generator)[:, 0]
        return _cross_entropy(output, labels)


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> WindowLoss:
    """Of logits [..., class] against a label for each of their rows, summed."""
    rows = logits.flatten(0, -2)
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return WindowLoss(F.cross_entropy(wide, labels, reduction="sum"), len(labels))


def _is_state(port: Port) -> bool:
    return port.role is Role.OTHER and port.dtype.is_floating_point
