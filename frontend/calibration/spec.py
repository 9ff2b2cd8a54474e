"""What text is wanted, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

SELF = "self"
"""The source that is text which the dense model writes itself."""

_LEAST = {"window_count": 1, "window_tokens": 2, "first_window": 0, "every": 1}

Progress = Callable[[Iterable[Any], str, int], Iterator[Any]]
"""Wrap an iterable so that its consumption is shown: items, what they are, how many."""

Notice = Callable[[str], None]
"""Tell a person what was done otherwise than expected, and why."""


class CalibrationError(Exception):
    """The text that was asked for cannot be had; the message says what to do."""


@dataclass(frozen=True)
class CalibrationSpec:
    """Windows of one text: for calibration, or held out of it for measuring.

    Attributes:
        source: ``self``, a text file, a ``.jsonl`` file with a ``text`` in each line, or
            ``datasets:ID[:config][:split][:column]``.
        window_count: How many windows.
        window_tokens: How long each of them is.
        first_window: How many windows of the source to pass over.
        every: Of so many windows the first is taken: neighbours are often of one document, and
            text from many documents says more about what a model meets.
        seed: Of text that the model writes; files are read from their start.
        with_special_tokens: Whether each window begins and ends as the tokenizer marks a text,
            within its length. Text that the model writes has none of that.
    """

    source: str = SELF
    window_count: int = 64
    window_tokens: int = 256
    first_window: int = 0
    every: int = 1
    seed: int = 0
    with_special_tokens: bool = False

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise CalibrationError(
                    f"{name} is {getattr(self, name)}: give a number of at least {least}"
                )
        if self.source == SELF and self.every > 1:
            raise CalibrationError(
                f"every={self.every}: text that the model writes is of many documents as it is; "
                "leave every at 1"
            )

    @property
    def end_window(self) -> int:
        """One past the last window that is taken or passed over."""
        return self.first_window + self.window_count * self.every

    def held_out(self, window_count: int, window_tokens: int | None = None) -> Self:
        """Windows that follow these in the same source, so that none of them overlaps.

        Args:
            window_count: How many.
            window_tokens: How long each is; as long as these where not given.
        """
        length = window_tokens or self.window_tokens
        first = -(-self.end_window * self.window_tokens // length)
        return replace(
            self, window_count=window_count, window_tokens=length, first_window=first, every=1
        )


@dataclass(frozen=True)
class CalibrationSet:
    """Tokens, and where they come from.

    Attributes:
        tokens: [window, token], int64.
        description: JSON values for reports: source, sha256, windows, tokens, seed; of text that
            the model wrote also how likely it was to it.
    """

    tokens: torch.Tensor
    description: Mapping[str, Any]
