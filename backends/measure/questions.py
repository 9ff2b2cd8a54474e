"""Read multiple-choice questions, and turn them into pairs of context and continuation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunec.backends.measure.json_lines import read_objects

_PARTIAL_CONTEXT = "partial_context"


class QuestionError(Exception):
    """A file of questions is missing or malformed; names the line."""


@dataclass(frozen=True)
class Question:
    """A question and the answers to choose from.

    Attributes:
        id: The source's own name for it.
        query: What comes before the choice.
        choices: The answers.
        gold: The index of the right one.
        suffix: What follows the choice, where it is the likelihood of this that decides.
    """

    id: str
    query: str
    choices: tuple[str, ...]
    gold: int
    suffix: str | None = None

    def pairs(self) -> list[tuple[str, str]]:
        """For each choice the context, and the continuation whose likelihood counts."""
        if self.suffix is not None:
            return [(self.query + choice, f" {self.suffix}") for choice in self.choices]
        return [(self.query, f" {choice}") for choice in self.choices]

    def lengths(self) -> list[int]:
        """Characters of what is scored for each choice, without the blank before it."""
        return [len(continuation) - 1 for _, continuation in self.pairs()]


def read_questions(path: Path, count: int | None = None) -> list[Question]:
    """Read a file with one JSON object a line.

    A line is ``{"id", "query", "choices": [...], "gold"}``; with ``"schema": "partial_context"``
    and a ``suffix`` the choices stand between query and suffix.

    Args:
        path: The file.
        count: How many questions to take from its start; all where not given.

    Raises:
        QuestionError: there is no such file, or a line is malformed.
    """
    return [_parse(*numbered) for numbered in read_objects(path, count, QuestionError)]


def _parse(where: str, item: Mapping[str, Any]) -> Question:
    is_partial = item.get("schema") == _PARTIAL_CONTEXT
    question = Question(
        id=str(item.get("id", where)),
        query=_text(where, item, "query"),
        choices=_choices(where, item),
        gold=item["gold"] if isinstance(item.get("gold"), int) else -1,
        suffix=_text(where, item, "suffix") if is_partial else None,
    )
    if not 0 <= question.gold < len(question.choices):
        raise QuestionError(
            f"{where}: gold is {item.get('gold')!r}, an index into "
            f"{len(question.choices)} choices is expected"
        )
    if min(question.lengths()) == 0:
        raise QuestionError(f"{where}: a choice or the suffix is empty")
    return question


def _text(where: str, item: Mapping[str, Any], key: str) -> str:
    if not isinstance(item.get(key), str):
        raise QuestionError(f"{where}: {key} must be a string; the keys are {sorted(item)}")
    return str(item[key])


def _choices(where: str, item: Mapping[str, Any]) -> tuple[str, ...]:
    choices = item.get("choices")
    if not isinstance(choices, list) or len(choices) < 2:
        raise QuestionError(f"{where}: choices must be a list of at least two strings")
    if not all(isinstance(choice, str) for choice in choices):
        raise QuestionError(f"{where}: choices holds something that is not a string")
    return tuple(choices)
