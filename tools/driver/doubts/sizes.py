"""Doubts about sizes: what grew, budgets that do not hold, cuts that changed nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prunec.driver.doubts.contradiction import Contradiction

_SHARE = 0.01
"""Of a size, by which a budget may be missed: plans count in whole units."""

_BUDGETS = {
    "keep": "block_parameters",
    "parameters": "parameters",
    "weight_bytes": "weight_bytes",
    "flops": "flops_per_token",
    "kv_bytes": "kv_bytes_per_token",
}
"""By budget, the size that it bounds."""


def doubt_sizes(report: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Doubts about what a job says of sizes, where no prompt chooses.

    Args:
        report: With ``sizes``, ``plan``, ``choice`` and ``quality``.
    """
    before, after = report["sizes"]["before"], report["sizes"]["after"]
    if report["choice"]:  # what is chosen by comes on top, and budgets bound what decode reads
        return
    grown = {
        key: [before[key], after[key]] for key in _BUDGETS.values() if after[key] > before[key]
    }
    if grown:
        told = ", ".join(f"{k} from {b:,} to {a:,}" for k, (b, a) in grown.items())
        yield Contradiction("grew", f"pruning made the model larger: {told}", grown)
    for budget in (report["plan"] or {}).get("budgets", ()):
        size = _BUDGETS.get(budget["budget"])
        if size and before[size] and after[size] / before[size] > budget["asked"] + _SHARE:
            left = after[size] / before[size]
            yield Contradiction(
                "budget-missed",
                f"{budget['budget']}={budget['asked']:g} was asked for and the plan says that "
                f"{budget['reached']:.3f} stay, but {left:.3f} of {size} are there",
                {"asked": budget["asked"], "planned": budget["reached"], "there": left},
                is_fatal=True,
            )
    yield from _doubt_cut(report["quality"], before, after)


def _doubt_cut(
    quality: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Contradiction]:
    """A model that lost something and returns the same to the last bit."""
    is_same = quality.get("kl_nats") == 0 and quality.get("nll_difference") == 0
    if is_same and after["block_parameters"] < before["block_parameters"]:
        yield Contradiction(
            "cut-without-effect",
            "the pruned model lost block parameters and predicts the same to the last bit: was the "
            "dense one measured twice, or was what was cut zero?",
            {key: [before[key], after[key]] for key in ("block_parameters",)},
        )
