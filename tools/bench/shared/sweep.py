"""What the benches share that try every architecture of the tests: progress and their files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


def shown(items: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The items one by one, each named on the terminal while it is worked on."""
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("", total=len(items))
        for name, part in items:
            progress.update(task, description=f"{name}, {part}")
            yield name, part
            progress.advance(task)


def load(path: Path) -> dict[str, Any]:
    """What a former run found."""
    return json.loads(path.read_text()) if path.is_file() else {"architectures": {}}


def write(path: Path, document: dict[str, Any], markdown: str) -> None:
    """Write the JSON and the Markdown beside it; an interrupt leaves whole ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {path: json.dumps(document, indent=1) + "\n", path.with_suffix(".md"): markdown}
    for target, text in texts.items():
        partial = target.with_name(f".{target.name}.partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, target)


def in_order(document: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """The same with its architectures in this order."""
    found = document["architectures"]
    return document | {"architectures": {n: found[n] for n in order if n in found}}


def first_line(error: BaseException) -> str:
    """An error's type and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:300]
