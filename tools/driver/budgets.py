"""Say how a plan came about, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunec.driver.formats import format_rate


def describe_method(plan: Mapping[str, Any] | None) -> str:
    """The criterion and the method of allocation with its options; empty where neither is known.

    Args:
        plan: The reasons of a plan, or None where nothing was cut.
    """
    if not plan or "method" not in plan:
        return ""
    options = " ".join(f"{k}={_text(v)}" for k, v in plan["options"].items() if v not in ([], ""))
    method = f"{plan['method']}, {options}" if options else plan["method"]
    return f"{plan['criterion']} scores, allocated by {method}"


def describe_budget(budget: Mapping[str, Any]) -> str:
    """One budget: what was asked and what the plan reaches."""
    return (
        f"{format_rate(budget['reached'])} of the {budget['what']} stay "
        f"({budget['after']:,} of {budget['before']:,}); {budget['budget']}="
        f"{budget['asked']:g} allows {budget['limit']:,}"
    )


def _text(value: Any) -> str:
    return "+".join(value) if isinstance(value, list) else str(value)
