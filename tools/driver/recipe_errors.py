"""Say what is wrong with a recipe so that the reader can mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


class RecipeError(Exception):
    """A recipe asks for something that does not exist or cannot be."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A question that offers the most similar of the known words, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f". Did you mean {found[0]!r}?" if found else ""


def describe_problems(path: Path, model: type[BaseModel], error: ValidationError) -> str:
    """One line for each problem: the key's path, what is wrong, what is allowed."""
    problems = error.errors(include_url=False)
    lines = list(dict.fromkeys(_describe(model, dict(problem)) for problem in problems))
    if len(lines) == 1:
        return f"{path}: {lines[0]}"
    return "\n".join([f"{path} has {len(lines)} problems:", *(f"  {line}" for line in lines)])


def _describe(model: type[BaseModel], problem: dict[str, Any]) -> str:
    location = problem["loc"]
    key = ".".join(map(str, location)) or "the file"
    match problem["type"]:
        case "extra_forbidden":
            allowed = sorted(_section(model, location[:-1]).model_fields)
            hint = nearest(str(location[-1]), allowed)
            return f"{key}: unknown key; allowed here: {', '.join(allowed)}{hint}"
        case "missing":
            return f"{key}: missing; it is required"
        case "literal_error":
            expected = problem["ctx"]["expected"]
            return f"{key}: {problem['input']!r} is not allowed; allowed: {expected}"
        case "model_type":
            return f"{key}: must be a table, not {problem['input']!r}"
        case _:
            fact = problem["msg"].removeprefix("Value error, ")
            if not location:  # of several sections together: the message names them
                return str(fact)
            return f"{key}: {fact[:1].lower()}{fact[1:]}, not {_shown(problem)}"


def _shown(problem: dict[str, Any]) -> str:
    text = repr(problem["input"])
    return text if len(text) <= 60 else text[:57] + "..."


def _section(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel]:
    for key in location:
        annotation = model.model_fields[str(key)].annotation
        choices = get_args(annotation) or (annotation,)
        model = next(c for c in choices if isinstance(c, type) and issubclass(c, BaseModel))
    return model
