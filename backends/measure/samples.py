"""Read prompts to generate from, with what was once answered to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunec.backends.measure.json_lines import read_objects


class SampleError(Exception):
    """A file of prompts is missing or malformed; names the line."""


@dataclass(frozen=True)
class Sample:
    """A prompt of a task.

    Attributes:
        id: The source's own name for it.
        task: What it belongs to, for example ``coqa``.
        prompt: The text to continue.
        references: Answers of people.
        stop: Strings that end an answer.
        max_new_tokens: The most tokens of an answer; None where the task sets no limit.
    """

    id: str
    task: str
    prompt: str
    references: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    max_new_tokens: int | None = None

    def cut(self, text: str) -> str:
        """An answer up to the first stop string in it."""
        return text[: min((text.index(s) for s in self.stop if s in text), default=len(text))]


def read_samples(path: Path, count: int | None = None) -> list[Sample]:
    """Read a file with one JSON object a line.

    A line is ``{"id", "query", "task", "references": [...]}``, and where the task has them
    ``"stop": [...]`` and ``"max_new_tokens"``.

    Args:
        path: The file; its name is the task where a line has none.
        count: How many samples to take from its start; all where not given.

    Raises:
        SampleError: there is no such file, or a line is malformed.
    """
    found = read_objects(path, count, SampleError)
    return [_parse(where, path.stem, item) for where, item in found]


def _parse(where: str, task: str, item: Mapping[str, Any]) -> Sample:
    prompt, limit = item.get("query"), item.get("max_new_tokens")
    if not isinstance(prompt, str) or not prompt:
        raise SampleError(f"{where}: query must be a text; the keys are {sorted(item)}")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise SampleError(f"{where}: max_new_tokens is {limit!r}: at least 1 is expected")
    return Sample(
        id=str(item.get("id", where)),
        task=str(item.get("task", task)),
        prompt=prompt,
        references=_texts(where, item, "references"),
        stop=_texts(where, item, "stop"),
        max_new_tokens=limit,
    )


def _texts(where: str, item: Mapping[str, Any], key: str) -> tuple[str, ...]:
    texts = item.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(t, str) and t for t in texts):
        raise SampleError(f"{where}: {key} must be a list of texts, none of them empty")
    return tuple(texts)
