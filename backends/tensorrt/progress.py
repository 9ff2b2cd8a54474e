"""Turn the builder's nested phases into one fraction, and stop a build that is not wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BuildProgress = Callable[[str, float], None]
"""Told the phase and the fraction done, 0 to 1, never descending. May raise to stop the build."""


@dataclass
class _Phase:
    begin: float  # as a fraction of the whole
    span: float
    step_count: int
    done_count: int = 0

    def position(self) -> float:
        return self.begin + self.span * min(1.0, self.done_count / self.step_count)


class BuildTracker:
    """Follow a build from whichever threads the library calls.

    Args:
        progress: Told about every advance; None to be told nothing.
    """

    def __init__(self, progress: BuildProgress | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._fraction = 0.0
        self._cancelled = False
        self.error: BaseException | None = None
        """What the callback raised."""

    def cancel(self) -> None:
        """Stop the build at its next step."""
        self._cancelled = True

    def start(self, name: str, parent: str | None, step_count: int) -> None:
        """Open a phase inside the current step of its parent."""
        with self._lock:
            outer = self._phases.get(parent or "")
            begin = outer.position() if outer else 0.0
            span = outer.span / outer.step_count if outer else 1.0
            self._phases[name] = _Phase(begin, span, max(1, step_count))

    def step(self, name: str) -> bool:
        """Count one step of a phase; False tells the library to stop."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done_count += 1
                self._advance(name, phase.position())
            return not self._cancelled and self.error is None

    def finish(self, name: str) -> None:
        """Close a phase."""
        with self._lock:
            self._phases.pop(name, None)

    def _advance(self, name: str, fraction: float) -> None:
        if self._progress is None or self.error is not None or fraction <= self._fraction:
            return
        self._fraction = fraction
        try:
            self._progress(name, fraction)
        except BaseException as error:  # it must not cross the library's own frames
            self.error = error


def attach(tracker: BuildTracker, module: Any) -> Any:
    """The tracker as the monitor object of this TensorRT library."""
    methods = {
        "phase_start": lambda _, name, parent, steps: tracker.start(name, parent, steps),
        "step_complete": lambda _, name, step: tracker.step(name),
        "phase_finish": lambda _, name: tracker.finish(name),
    }
    return type("ProgressMonitor", (module.IProgressMonitor,), methods)()
