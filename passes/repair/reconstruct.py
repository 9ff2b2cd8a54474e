"""Train what is left of one window after another to return what the dense one does."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import Program, language_feeds
from prunec.passes.ir.staged import StagedRun
from prunec.passes.repair.finished import FinishedWindows
from prunec.passes.repair.streams import require_same_streams
from prunec.passes.repair.training import Example, Training, require_options
from prunec.passes.repair.windows import Window, find_windows


@dataclass(frozen=True)
class Reconstruct(Pass):
    """Train the weights of each window so that the stream after it is the dense program's.

    A window is `span` residual branches: attention and feed-forward of a layer. Windows are taken
    in order, each alone: it is given what those before it, trained already, make of the
    calibration text, and aims at the stream of the dense program at the same place, however many
    cuts and repairs lie between. The loss is
    the squared difference over the squared length of the aim, token by token. Nothing is kept in
    memory but the streams and one window's activations.

    Where the run has a cache, an interrupted pass goes on after the last window that it finished.
    The number of steps is fixed, so that a seed and a text give the same weights again. Only
    where `minutes` run out before are the steps of the windows left made fewer; the run says so.

    Changes: the values of the weights that one window alone reads.
    Keeps: every shape; embeddings, head, and what several windows share.

    Raises:
        PassError: nothing was cut before, no calibration text, no residual stream, one that was
            itself cut or does not stand in the dense program, or a loss that is not finite.
    """

    name = "reconstruct"
    source = "local reconstruction of windows, arXiv 2510.14444"

    epochs: int = 5
    learning_rate: float = 0.002
    batch: int = 1
    """Texts a step."""
    span: int = 2
    """Residual branches a window."""
    minutes: float = 30.0
    """What it may take at most."""
    precision: str = "auto"
    """Of products while training: ``float32``, ``bfloat16``, or ``auto``: the latter where the
    processor has matrix units for it. Weights, sums and losses stay as they are."""

    def __post_init__(self) -> None:
        require_options(
            at_least_one={"epochs": self.epochs, "batch": self.batch, "span": self.span},
            above_zero={"learning_rate": self.learning_rate, "minutes": self.minutes},
            precision=self.precision,
        )

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        teacher = context.require_teacher(program, self.name)
        text = context.require_calibration(self.name)
        windows = find_windows(program, context.analyse(find_structures, program), self.span)
        if not windows:
            raise PassError("the program has no residual stream, so no windows to train; use refit")
        feeds = [language_feeds(program.main, batch) for batch in text.split(self.batch)]
        results = [window.result.name for window in windows]
        starts = [window.nodes[0].name for window in windows]
        run = StagedRun(program, program.main, feeds, [*starts, *results])
        require_same_streams(windows, teacher)
        taught = [language_feeds(teacher.main, batch) for batch in text.split(self.batch)]
        aims = StagedRun(teacher, teacher.main, taught, results)
        training = Training(self.epochs, self.learning_rate, context.seed, self.precision)
        clock = _Clock(60 * self.minutes, len(windows))
        changed: dict[str, torch.Tensor] = {}
        finished = FinishedWindows(context, training, (self.batch, self.span), program)
        cut_short = 0
        for place, window in enumerate(context.progress(windows, "Reconstruct", len(windows))):
            seconds = clock.share()
            trained = None if cut_short else finished.read(place)
            if trained is None:
                examples = [_example(run, aims, window, batch) for batch in range(len(feeds))]
                learned = [name for name in window.own_weights() if name not in program.buffers]
                trained, is_whole = training.train(
                    window, run.weights, learned, examples, _relative_error, seconds
                )
                cut_short += not is_whole
                if not cut_short:  # what comes after one that was cut short was made from it
                    finished.write(place, trained)
            run.weights |= trained
            changed |= trained
        finished.forget()
        if cut_short:
            context.notice(
                f"reconstruct: in {self.minutes:g} minutes {cut_short} of {len(windows)} windows "
                "were trained for fewer epochs than asked, how many depends on this machine"
            )
        return context.repaired(program, program.with_weights(changed))


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


@torch.no_grad()
def _example(run: StagedRun, aims: StagedRun, window: Window, batch: int) -> Example:
    """What a window is given in the cut program, and the dense stream at its end."""
    run.advance(window.nodes[0].name, batch)
    given = {node: run.read(node, batch) for node in window.given}
    return given, aims.peek(aims.advance(window.result.name, batch), batch)


def _relative_error(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The squared error of each token over its squared length, on average."""
    wide = torch.promote_types(wanted.dtype, torch.float32)
    error = (found.to(wide) - wanted.to(wide)).square().mean(-1)
    return (error / wanted.to(wide).square().mean(-1).clamp_min(1e-12)).mean()
