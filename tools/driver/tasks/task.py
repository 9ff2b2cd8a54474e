"""What a job needs to know of the use that a model is made for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from prunec.backends.tensorrt import Profile
from prunec.driver.recipe import EngineSection, EvaluateSection, Recipe
from prunec.frontend.calibration import Author, CalibrationSpec
from prunec.passes.ir import Program

Check = tuple[str, Callable[[], str]]
"""What is checked, and the check: it tells what it found, or raises."""


class TaskError(Exception):
    """A model cannot be used so; says what it is and what works instead."""


@dataclass(frozen=True)
class Figure:
    """One number that tells what pruning cost.

    Attributes:
        label: What it is.
        before: Of the dense model; empty where it compares both.
        after: Of the pruned model.
        change: The unit, or how many times as much.
        note: What it means.
        share: Of everything, where it is a share.
    """

    label: str
    before: str
    after: str
    change: str
    note: str
    share: float | None = None


class Task(ABC):
    """A use of models. Subclasses are final and have no state.

    Attributes:
        name: As reports have it.
        onnx: What the folder ``onnx/`` holds, in words.
    """

    name: ClassVar[str]
    onnx: ClassVar[str]

    @abstractmethod
    def text_specs(self, recipe: Recipe) -> tuple[CalibrationSpec, CalibrationSpec]:
        """What to calibrate on, and what to measure on: never the same windows.

        Raises:
            TaskError: the model cannot be measured on the text that the recipe names.
        """

    @abstractmethod
    def require_windows(self, recipe: Recipe, config: Any, tokenizer: Any) -> None:
        """Check that the model can read windows of the recipe's length.

        Raises:
            TaskError: it has fewer positions.
        """

    @abstractmethod
    def author(self, dense: Program) -> Author | None:
        """Who writes the text of the source ``self``."""

    @abstractmethod
    def profiles(self, section: EngineSection, program: Program) -> tuple[Profile, ...]:
        """The sizes that an engine of the program accepts."""

    @abstractmethod
    def compare(
        self, dense: Program, pruned: Program, windows: torch.Tensor, **options: Any
    ) -> dict[str, Any]:
        """What stands in the report under ``quality``.

        Args:
            dense: The reference.
            pruned: What is compared with it.
            windows: [window, token], int64.
            options: Text and progress, as `prunec.backends.measure` takes them.
        """

    @abstractmethod
    def answers(
        self, dense: Program, pruned: Program, tokenizer: Any, section: EvaluateSection
    ) -> list[dict[str, str]]:
        """What both models write after the same prompts; nothing where they do not write."""

    @abstractmethod
    def figures(self, quality: Mapping[str, Any]) -> Sequence[Figure]:
        """The numbers of ``quality`` for people."""

    @abstractmethod
    def tell(self, quality: Mapping[str, Any]) -> str:
        """The same in a sentence."""

    @abstractmethod
    def method(self, quality: Mapping[str, Any]) -> str:
        """How these numbers came about: the end of a sentence that begins with their text."""

    @abstractmethod
    def next_steps(self, folder: Path, reference: str) -> Iterator[dict[str, str]]:
        """Commands that measure a result: ``what`` and ``command``."""

    @abstractmethod
    def checks(self, program: Program, onnx: Path | None) -> Iterator[Check]:
        """The laws that a result obeys.

        Args:
            program: The pruned one.
            onnx: Its ONNX file or folder, where there is one.
        """
