"""A program that keeps no cache as a runner in eager PyTorch."""

from __future__ import annotations

import torch

from prunec.backends.torch.runner import TorchRunner
from prunec.passes.ir import Program


class RereadingRunner:
    """Step a language model without a cache: each step reads the whole text from its start.

    What it hands on as its cache are the tokens themselves, [batch, past], int64.

    Args:
        program: A language model with one entry point and no cache.
        device: Where to run, for example ``cpu`` or ``cuda``.
    """

    def __init__(self, program: Program, device: str = "cpu") -> None:
        self._whole = TorchRunner(program, device)
        self.name = self._whole.name
        self.vocabulary = self._whole.vocabulary

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `prunec.backends.runner.Runner.step`."""
        text = tokens if cache is None else torch.cat([cache, tokens], dim=1)
        logits, _ = self._whole.step(text, mask, None)
        return logits[:, -tokens.shape[1] :], text
