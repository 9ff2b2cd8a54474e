"""Collect what the library says, so that an error can quote it."""

from __future__ import annotations

from typing import Any

_SERIOUS = ("ERROR", "INTERNAL_ERROR")


class Messages:
    """The errors and warnings of one build or load, in order.

    Args:
        module: The TensorRT library.
    """

    def __init__(self, module: Any) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        methods = {"log": lambda _, severity, text: self._add(severity.name, text)}
        self.logger = type("MessageLogger", (module.ILogger,), methods)()

    def _add(self, severity: str, text: str) -> None:
        if severity in _SERIOUS:
            self.errors.append(" ".join(text.split()))
        elif severity == "WARNING":
            self.warnings.append(" ".join(text.split()))

    def quoted(self, limit: int = 3) -> str:
        """The first few errors as part of a sentence."""
        return "; ".join(self.errors[:limit]) or "it gave no reason"
