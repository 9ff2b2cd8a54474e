"""Train the weights of one window."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from prunec.passes.contract import PassError
from prunec.passes.repair.windows import Window

_WARM_UP_STEPS = 10

Example = tuple[Mapping[Node, torch.Tensor], torch.Tensor]
"""What a window is given, and what it should return."""


@dataclass(frozen=True)
class Training:
    """How windows are trained: Adam, a cosine with a short start.

    Attributes:
        epochs: Times that every example is seen.
        learning_rate: The highest.
        seed: Of the order of the examples.
        is_half: Whether products are of bfloat16; weights, sums and losses never are.
    """

    epochs: int
    learning_rate: float
    seed: int
    is_half: bool

    def train(
        self,
        window: Window,
        weights: Mapping[str, torch.Tensor],
        learned: Sequence[str],
        examples: Sequence[Example],
        seconds: float,
    ) -> tuple[dict[str, torch.Tensor], bool]:
        """The new values of what is learned, and whether there was time for every epoch.

        Args:
            window: Which one.
            weights: All that it reads, by name.
            learned: The names of those that change.
            examples: One step each, in an order of chance.
            seconds: After so many no further epoch begins.

        Raises:
            PassError: a loss is not finite.
        """
        leaves = {n: weights[n].detach().clone().requires_grad_(True) for n in learned}
        if not leaves:
            return {}, True
        optimizer = torch.optim.Adam(leaves.values(), lr=self.learning_rate, betas=(0.9, 0.95))
        steps = self.epochs * len(examples)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        order = torch.Generator().manual_seed(self.seed)
        ends = time.monotonic() + seconds
        epochs = 0
        while epochs < self.epochs and (epochs == 0 or time.monotonic() < ends):
            for place in torch.randperm(len(examples), generator=order).tolist():
                given, wanted = examples[place]
                with torch.autocast("cpu", torch.bfloat16, enabled=self.is_half):
                    found = window.run(given, {**weights, **leaves})
                loss = _relative_error(found, wanted)
                if not torch.isfinite(loss):
                    raise PassError(f"the loss at {window.result.name} is not finite")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
            epochs += 1
        return {name: leaf.detach() for name, leaf in leaves.items()}, epochs == self.epochs


def _rate(step: int, steps: int) -> float:
    """A cosine from one to zero with a short start."""
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * (1 + math.cos(math.pi * step / steps)) / 2


def _relative_error(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The squared error of each token over its squared length, on average."""
    wide = torch.promote_types(wanted.dtype, torch.float32)
    error = (found.to(wide) - wanted.to(wide)).square().mean(-1)
    return (error / wanted.to(wide).square().mean(-1).clamp_min(1e-12)).mean()
