"""Read files with one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_objects(
    path: Path, count: int | None, error: type[Exception]
) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a file, each with its place for messages; blank lines are passed over.

    Args:
        path: The file.
        count: How many to take from its start; all where None.
        error: What is raised where the file is missing, empty or malformed.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as reason:
        raise error(f"{path} cannot be read: {reason}") from reason
    numbered = [(n, line) for n, line in enumerate(lines, start=1) if line.strip()][:count]
    if not numbered:
        raise error(f"{path} holds nothing: one JSON object a line is expected")
    return [(f"{path}, line {n}", _parse(f"{path}, line {n}", line, error)) for n, line in numbered]


def _parse(where: str, line: str, error: type[Exception]) -> dict[str, Any]:
    try:
        item = json.loads(line)
    except json.JSONDecodeError as reason:
        raise error(f"{where}: not JSON: {reason}") from reason
    if not isinstance(item, dict):
        raise error(f"{where}: an object is expected, there is {type(item).__name__}")
    return item
