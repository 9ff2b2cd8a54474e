"""What a pass promises, what it is given, and how it says that it cannot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch

from prunec.passes.ir import Program

if TYPE_CHECKING:
    from prunec.passes.analysis.importance import Scores
    from prunec.passes.plan import Plan

Item = TypeVar("Item")
Progress = Callable[[Iterable[Item], str, int], Iterator[Item]]
"""Wrap an iterable so that its consumption is shown: items, what they are, how many."""


class PassError(Exception):
    """A pass cannot do what it was asked; the program is as it was."""


class PlanError(Exception):
    """A plan cannot be read, or does not fit the program that it is applied to."""


def _silent(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    return iter(items)


def _unheard(message: str) -> None:
    return None


@dataclass(frozen=True)
class CutRecord:
    """What a cut did: it is left by the pass that cuts and read by those that repair.

    Attributes:
        before: The program that was cut.
        after: What the cut made of it, with the weights that repairs have learned since.
        plan: Which units of `before` stay.
    """

    before: Program
    after: Program
    plan: Plan

    def repaired(self, given: Program, result: Program) -> CutRecord:
        """The same cut with what a repair learned; weights rewritten by other passes are not taken.

        Args:
            given: The program that was repaired.
            result: What the repair made of it.
        """
        after = self.after.weights
        own = [n for n in after.keys() & result.weights if given.weights.get(n) is after[n]]
        learned = {n: result.weights[n] for n in own if result.weights[n] is not after[n]}
        return replace(self, after=self.after.with_weights(learned))


@dataclass
class Context:
    """What a run gives to its passes, and what they hand on to one another.

    Attributes:
        calibration: [windows, tokens], int64: text to measure on. None where none was given.
        seed: Of everything that draws at random.
        progress: Shows long work.
        notice: Tells a person what a pass did otherwise than asked, and why.
        cache: A folder that survives the run, or None.
        teacher: The dense program, as it was before the first lossy pass: what quality is measured
            against and trained towards. It is set once.
        scores: Of the last scoring pass.
        plan: Of the last deciding pass.
        cut: Of the last pass that cut by a plan.
    """

    calibration: torch.Tensor | None = None
    seed: int = 0
    progress: Progress[Any] = _silent
    notice: Callable[[str], None] = _unheard
    cache: Path | None = None
    teacher: Program | None = None
    scores: Scores | None = None
    plan: Plan | None = None
    cut: CutRecord | None = None
    _memory: dict[tuple[Any, int], tuple[Program, Any]] = field(default_factory=dict, repr=False)

    def analyse(self, analysis: Callable[[Program], Item], program: Program) -> Item:
        """The result of an analysis on this very program, computed once."""
        key = (analysis, id(program))
        if key not in self._memory:
            self._memory[key] = (program, analysis(program))  # the program keeps its id alive
        return self._memory[key][1]

    def require_calibration(self, wanted_by: str) -> torch.Tensor:
        """The calibration text.

        Raises:
            PassError: the run has none.
        """
        if self.calibration is None:
            raise PassError(f"{wanted_by} needs calibration text and this run has none")
        return self.calibration

    def require_cut(self, wanted_by: str) -> CutRecord:
        """The last cut.

        Raises:
            PassError: nothing was cut before in this run.
        """
        if self.cut is None:
            raise PassError(f"there is no cut to repair: put {wanted_by} after remove-structures")
        return self.cut

    def require_teacher(self, program: Program, wanted_by: str) -> Program:
        """The dense program.

        Raises:
            PassError: this program is still the dense one.
        """
        if self.teacher is None or self.teacher is program:
            raise PassError(f"there is no cut to repair: put {wanted_by} after remove-structures")
        return self.teacher

    def repaired(self, given: Program, result: Program) -> Program:
        """Note what a repair made of a program, for the repairs after it, and return that."""
        if self.cut is not None:
            self.cut = self.cut.repaired(given, result)
        return result


class Pass(ABC):
    """One step from a program to a program. Subclasses are final frozen dataclasses.

    A subclass states its kebab-case `name`; its fields are its options, with defaults. Its
    docstring says what it changes, what it keeps and what it raises.
    """

    name: ClassVar[str]
    is_exact: ClassVar[bool] = False
    """Whether every output stays what it was, to rounding."""
    source: ClassVar[str] = ""
    """The paper and equation that it implements, where there is one."""

    @abstractmethod
    def apply(self, program: Program, context: Context) -> Program:
        """Return the changed program; the same object where there is nothing to do.

        Raises:
            PassError: it cannot be done; says what is there and what would help.
        """


@dataclass(frozen=True)
class Record:
    """What one pass did, for the report.

    Attributes:
        spec: The pass and its options as text.
        seconds: Wall time without verification.
        before: Sizes of the program it was given (`prunec.passes.analysis.cost`).
        after: Sizes of the program it returned.
    """

    spec: str
    seconds: float
    before: Mapping[str, int]
    after: Mapping[str, int]


@contextmanager
def explained(error: type[Exception], message: str) -> Iterator[None]:
    """Turn an exception of this type into a `PassError` that begins with `message`."""
    try:
        yield
    except error as cause:
        raise PassError(f"{message}: {cause}") from cause
