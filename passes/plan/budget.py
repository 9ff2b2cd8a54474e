"""Budgets: how much of each size of a program may stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from prunec.passes.analysis.bill import SIZES
from prunec.passes.contract import PassError

OPTIONS: Mapping[str, tuple[str, str]] = {
    "keep": ("block_parameters", "block parameters"),
    "parameters": ("parameters", "parameters"),
    "weight_bytes": ("weight_bytes", "bytes of weights"),
    "flops": ("flops_per_token", "operations"),
    "kv_bytes": ("kv_bytes_per_token", "bytes of cache per token"),
}
"""For each budget the size in `Cost` that it bounds, and its name for people."""

Sizes = npt.NDArray[np.int64]
"""[sizes], in the order of `prunec.passes.analysis.bill.SIZES`."""


@dataclass(frozen=True)
class Budget:
    """A bound of one size.

    Attributes:
        option: The name by which it is asked for.
        share: How much may stay, above 0 and at most 1.
        whole: The size of the uncut program.
        is_default: Whether it holds because nobody named a budget.
    """

    option: str
    share: float
    whole: int
    is_default: bool = False

    @property
    def asked(self) -> str:
        """How it came to be, for messages."""
        return "the default" if self.is_default else f"{self.option}={self.share:g}"

    @property
    def limit(self) -> int:
        """The most that may stay, in parameters, bytes or operations."""
        return self.whole - round((1 - self.share) * self.whole)

    def of(self, sizes: Sizes) -> int:
        """The size that it bounds."""
        return int(sizes[SIZES.index(OPTIONS[self.option][0])])

    def holds(self, sizes: Sizes) -> bool:
        """Whether these sizes are within it."""
        return self.of(sizes) <= self.limit

    def to_json(self, sizes: Sizes) -> dict[str, Any]:
        """What was asked and what these sizes reach, as shares and as numbers."""
        left = self.of(sizes)
        return {
            "budget": self.option,
            "what": OPTIONS[self.option][1],
            "asked": self.share,
            "reached": left / self.whole,
            "before": self.whole,
            "limit": self.limit,
            "after": left,
        }


def make_budgets(
    shares: Mapping[str, float], whole: Sizes, *, are_default: bool = False
) -> tuple[Budget, ...]:
    """The budgets that are asked for.

    Args:
        shares: Option to the share that may stay.
        whole: Sizes of the uncut program.
        are_default: Whether nobody named them.

    Raises:
        PassError: the program has nothing of what is bounded.
    """
    budgets = tuple(
        Budget(option, share, int(whole[SIZES.index(OPTIONS[option][0])]), are_default)
        for option, share in shares.items()
    )
    for budget in budgets:
        if budget.whole == 0 and budget.share < 1:
            raise PassError(
                f"{budget.asked} bounds {OPTIONS[budget.option][1]}, of which this program has "
                f"none: {_instead(budget)}"
            )
    return budgets


def _instead(budget: Budget) -> str:
    if budget.is_default:
        return f"name a budget of something that it has, such as parameters={budget.share:g}"
    return f"leave {budget.option} out"
