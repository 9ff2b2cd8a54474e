"""Tell whether a path holds a stored program; imports no backend, so that it costs nothing."""

from __future__ import annotations

from pathlib import Path


def find_program(reference: str) -> Path | None:
    """The program folder at a path: itself, or that of a result folder; None if there is none."""
    path = Path(reference).expanduser()
    return next((p for p in (path, path / "program") if (p / "program.json").is_file()), None)
