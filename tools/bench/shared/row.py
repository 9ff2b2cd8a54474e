"""One way to prune a language model, a row of a bench's table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One pipeline at one size; empty for the dense model.

    Attributes:
        name: Of the way.
        keep: The size, a share of what is cut.
        pipeline: As text.
    """

    name: str
    keep: float
    pipeline: str

    @property
    def key(self) -> str:
        """Under which the result is kept."""
        return f"{self.name} keep={self.keep:g}"

    @property
    def passes(self) -> tuple[Any, ...]:
        """What the text stands for. Loaded here: rows are named on command lines without torch."""
        from prunec.passes.spec import parse_pipeline

        return parse_pipeline(self.pipeline)

    def to_json(self) -> dict[str, Any]:
        """What identifies it."""
        from prunec.passes.spec import format_pipeline

        pipeline = format_pipeline(self.passes)
        return {"name": self.name, "keep": self.keep, "pipeline": pipeline}
