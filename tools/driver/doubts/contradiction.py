"""Something in the numbers of a result that cannot be right, or hardly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Contradiction:
    """What is wrong, and what it was read from.

    Attributes:
        code: Kebab-case, for machines.
        message: For people: what is there, and what it may mean.
        numbers: What it was read from, by name.
        is_fatal: Whether ``prunec check`` fails on it: no sound result has it.
    """

    code: str
    message: str
    numbers: Mapping[str, Any]
    is_fatal: bool = False

    def to_json(self) -> dict[str, Any]:
        """The attributes as JSON values."""
        return asdict(self)


def not_finite(what: str, key: str, value: float | None) -> Contradiction:
    """A number that is not finite; None is what is left of one in a written report."""
    message = (
        f"{what} is {'not finite' if value is None else value}: logits are not finite, or beyond "
        "measure. Check the checkpoint, or compute in float32"
    )
    return Contradiction("not-finite", message, {key: value}, is_fatal=True)


def impossible(what: str, key: str, value: float) -> Contradiction:
    """A number that no distributions have."""
    message = f"{what} is {value:.4g}, which no distributions have"
    return Contradiction("impossible", message, {key: value}, is_fatal=True)
