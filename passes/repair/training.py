"""Train the weights of one window."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.contract import PassError
from prunec.passes.repair.windows import Window

PRECISIONS = ("auto", "float32", "bfloat16")
"""``auto`` is bfloat16 where the processor has matrix units for it."""

_WARM_UP_STEPS = 10

Example = tuple[Mapping[Node, torch.Tensor], Any]
"""What a window is given, and what it aims at."""

Loss = Callable[[torch.Tensor, Any], torch.Tensor]
"""From what a window returns and what it aims at to a number."""


def require_options(
    at_least_one: Mapping[str, int], above_zero: Mapping[str, float], precision: str
) -> None:
    """Refuse options of a pass that trains.

    Raises:
        ValueError: names the first that is out of its range.
    """
    for name, count in at_least_one.items():
        if count < 1:
            raise ValueError(f"{name}={count}: give 1 or more")
    for name, value in above_zero.items():
        if value <= 0:
            raise ValueError(f"{name}={value}: give more than 0")
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}: choose one of {PRECISIONS}")


@dataclass(frozen=True)
class Training:
    """How windows are trained: Adam, a cosine with a short start.

    Attributes:
        epochs: Times that every example is seen.
        learning_rate: The highest.
        seed: Of the order of the examples.
        precision: Of products, one of `PRECISIONS`; weights, sums and losses stay as they are.
    """

    epochs: int
    learning_rate: float
    seed: int
    precision: str

    @property
    def is_half(self) -> bool:
        """Whether products are of bfloat16."""
        return self.precision == "bfloat16" or (self.precision == "auto" and _is_half_fast())

    def train(
        self,
        window: Window,
        weights: Mapping[str, torch.Tensor],
        learned: Sequence[str],
        examples: Sequence[Example],
        loss_of: Loss,
        seconds: float,
        watch: Callable[[Sequence[int]], Iterable[int]] = iter,
    ) -> tuple[dict[str, torch.Tensor], bool]:
        """The new values of what is learned, and whether there was time for every epoch.

        Args:
            window: Which one.
            weights: All that it reads, by name.
            learned: The names of those that change.
            examples: One step each, in an order of chance.
            loss_of: Runs in the precision of the products; what it adds up is its own care.
            seconds: After so many no further epoch begins.
            watch: Goes through the steps of an epoch, to show them.

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
            for place in watch(torch.randperm(len(examples), generator=order).tolist()):
                given, aim = examples[place]
                with torch.autocast("cpu", torch.bfloat16, enabled=self.is_half):
                    loss = loss_of(window.run(given, {**weights, **leaves}), aim)
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


def _is_half_fast() -> bool:
    """Whether this processor multiplies matrices of bfloat16 several times as fast."""
    return bool(torch.cpu._is_amx_tile_supported())
