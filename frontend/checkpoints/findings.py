"""What keeps a checkpoint from being used, and the one message that says all of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prunec.frontend.checkpoints.errors import SourceError


@dataclass(frozen=True)
class Finding:
    """One thing that keeps a checkpoint from being used as it is.

    Attributes:
        there: What is there and why it is wrong.
        remedy: What the user can do about it; a sentence, or lines of commands.
    """

    there: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.there}. {self.remedy}"


def refuse(reference: str, findings: Sequence[Finding]) -> None:
    """End with everything that was found, where anything was.

    Raises:
        SourceError: says all of it, one line for each finding.
    """
    if len(findings) == 1:
        raise SourceError(f"{reference} cannot be used: {findings[0]}")
    if findings:
        lines = [f"{number}. {finding}" for number, finding in enumerate(findings, 1)]
        raise SourceError(
            "\n".join([f"{reference} cannot be used, for {len(findings)} reasons:", *lines])
        )


def some(names: Iterable[str], most: int = 4) -> str:
    """A few of the names, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    return f"{type(error).__name__}: {text.rstrip('.')}" if text else type(error).__name__
