"""Train what is left of one window after another to return what the whole one did."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import Program, language_feeds
from prunec.passes.ir.staged import StagedRun
from prunec.passes.repair.windows import Window, find_windows

_WARM_UP_STEPS = 10


@dataclass(frozen=True)
class Reconstruct(Pass):
    """Train the weights of each window so that the stream after it is the uncut one's.

    A window is `span` residual branches: attention and feed-forward of a layer. Windows are taken
    in order, each alone: it is given what those before it, trained already, make of the
    calibration text, and aims at the stream of the uncut program at the same place. The loss is
    the squared difference over the squared length of the aim, token by token. Nothing is kept in
    memory but the streams and one window's activations.

    The number of steps is fixed, so that a seed and a text give the same weights again. Only
    where `minutes` run out before are the steps of the windows left made fewer; the run says so.

    Changes: the values of the weights that one window alone reads.
    Keeps: every shape; embeddings, head, and what several windows share.

    Raises:
        PassError: nothing was cut before, no calibration text, no residual stream, or a loss
            that is not finite.
    """

    name = "reconstruct"
    source = "local reconstruction of windows, arXiv 2510.14444"

    epochs: int = 4
    learning_rate: float = 0.001
    batch: int = 1
    """Texts a step."""
    span: int = 2
    """Residual branches a window."""
    minutes: float = 30.0
    """What it may take at most."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.span) < 1:
            raise ValueError("epochs, batch and span are at least 1")
        if self.learning_rate <= 0 or self.minutes <= 0:
            raise ValueError("learning_rate and minutes are above 0")

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        if context.reference is None or context.reference is program:
            raise PassError("there is no cut to repair: put reconstruct after remove-structures")
        text = context.require_calibration(self.name)
        windows = find_windows(program, context.analyse(find_structures, program), self.span)
        if not windows:
            raise PassError("the program has no residual stream, so no windows to train; use refit")
        feeds = [language_feeds(program.main, batch) for batch in text.split(self.batch)]
        results = [window.result.name for window in windows]
        starts = [window.nodes[0].name for window in windows]
        run = StagedRun(program, program.main, feeds, [*starts, *results])
        aims = StagedRun(
            context.reference,
            context.reference.main,
            [language_feeds(context.reference.main, batch) for batch in text.split(self.batch)],
            results,
        )
        clock = _Clock(60 * self.minutes, len(windows))
        changed: dict[str, torch.Tensor] = {}
        for window in context.progress(windows, "Reconstruct", len(windows)):
            with torch.no_grad():
                given = [_given(run, window, batch) for batch in range(len(feeds))]
                wanted = [_aim(aims, window, batch) for batch in range(len(feeds))]
            trained = self._train(window, run.weights, given, wanted, context, clock.share())
            run.weights |= trained
            changed |= trained
        if clock.is_over:
            context.notice(f"reconstruct: {self.minutes:g} minutes were too few for every step")
        return program.with_weights(changed)

    def _train(
        self,
        window: Window,
        weights: Mapping[str, torch.Tensor],
        given: Sequence[Mapping[Node, torch.Tensor]],
        wanted: Sequence[torch.Tensor],
        context: Context,
        seconds: float,
    ) -> dict[str, torch.Tensor]:
        """The new weights of a window; those it had where training made nothing better."""
        leaves = {
            name: weights[name].detach().clone().requires_grad_(True)
            for name in window.own_weights()
            if weights[name].is_floating_point()
        }
        if not leaves:
            return {}
        optimizer = torch.optim.Adam(leaves.values(), lr=self.learning_rate, betas=(0.9, 0.95))
        steps = self.epochs * len(given)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        order = torch.Generator().manual_seed(context.seed)
        ends = time.monotonic() + seconds
        for _ in range(self.epochs):
            for place in torch.randperm(len(given), generator=order).tolist():
                optimizer.zero_grad(set_to_none=True)
                found = window.run(given[place], {**weights, **leaves})
                loss = _relative_error(found, wanted[place])
                if not torch.isfinite(loss):
                    raise PassError(f"the loss at {window.result.name} is not finite")
                loss.backward()
                optimizer.step()
                schedule.step()
            if time.monotonic() > ends:
                break
        return {name: leaf.detach() for name, leaf in leaves.items()}


class _Clock:
    """Shares out what is left of a time among the parts that are left."""

    def __init__(self, seconds: float, parts: int) -> None:
        self._ends = time.monotonic() + seconds
        self._parts = parts

    def share(self) -> float:
        """Seconds for the next part."""
        share = (self._ends - time.monotonic()) / max(self._parts, 1)
        self._parts -= 1
        return share

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._ends


def _rate(step: int, steps: int) -> float:
    """A cosine from one to zero with a short start."""
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * (1 + math.cos(math.pi * step / steps)) / 2


def _given(run: StagedRun, window: Window, batch: int) -> dict[Node, torch.Tensor]:
    run.advance(window.nodes[0].name, batch)
    return {node: run.read(node, batch) for node in window.given}


def _aim(aims: StagedRun, window: Window, batch: int) -> torch.Tensor:
    """The uncut stream at the window's end."""
    return aims.peek(aims.advance(window.result.name, batch), batch)


def _relative_error(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The squared error of each token over its squared length, on average."""
    wide = torch.promote_types(wanted.dtype, torch.float32)
    error = (found.to(wide) - wanted.to(wide)).square().mean(-1)
    return (error / wanted.to(wide).square().mean(-1).clamp_min(1e-12)).mean()
