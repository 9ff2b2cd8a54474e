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

_FIRST_SCALE = 2.0**12
"""By which losses in float16 are multiplied at first, so that small gradients are no zeros."""

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

    What is learned is held in float32 at least, so that weights in half precision gather steps
    which are smaller than their spacing; the window sees it as it will be stored.

    Attributes:
        epochs: Times that every example is seen.
        learning_rate: The highest.
        seed: Of the order of the examples.
        precision: Of products of float32 and wider, one of `PRECISIONS`; weights, sums and losses
            stay as they are, and so do products of a model in half precision.
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
        leaves = {n: _widened(weights[n]).requires_grad_(True) for n in learned}
        if not leaves:
            return {}, True
        dtypes = {weights[name].dtype for name in learned}
        is_narrowed = self.is_half and not dtypes & {torch.float16, torch.bfloat16}
        scaler = torch.amp.GradScaler(
            "cpu", init_scale=_FIRST_SCALE, enabled=torch.float16 in dtypes
        )
        optimizer = torch.optim.Adam(
            leaves.values(), lr=self.learning_rate, betas=(0.9, 0.95), fused=True
        )
        steps = self.epochs * len(examples)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        order = torch.Generator().manual_seed(self.seed)
        ends = time.monotonic() + seconds
        epochs = 0
        while epochs < self.epochs and (epochs == 0 or time.monotonic() < ends):
            for place in watch(torch.randperm(len(examples), generator=order).tolist()):
                given, aim = examples[place]
                values = {n: leaf.to(weights[n].dtype) for n, leaf in leaves.items()}
                with torch.autocast("cpu", torch.bfloat16, enabled=is_narrowed):
                    loss = loss_of(window.run(given, {**weights, **values}), aim)
                if not torch.isfinite(loss):
                    raise PassError(f"the loss at {window.result.name} is not finite")
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
            epochs += 1
        trained = {n: leaf.detach().to(weights[n].dtype) for n, leaf in leaves.items()}
        return trained, epochs == self.epochs


def _widened(weight: torch.Tensor) -> torch.Tensor:
    """A copy in float32 at least."""
    return weight.detach().to(torch.promote_types(weight.dtype, torch.float32), copy=True)


def _rate(step: int, steps: int) -> float:
    """A cosine from one to zero with a short start."""
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * (1 + math.cos(math.pi * step / steps)) / 2


def _is_half_fast() -> bool:
    """Whether this processor multiplies matrices of bfloat16 several times as fast."""
    return bool(torch.cpu._is_amx_tile_supported())
