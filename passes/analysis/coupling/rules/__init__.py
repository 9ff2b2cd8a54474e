"""One rule for each family of ATen operators, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch._ops import OpOverload

from prunec.passes.analysis.coupling.rules import (
    attention,
    contraction,
    elementwise,
    joining,
    reduction,
    reshaping,
)
from prunec.passes.analysis.coupling.site import Rule

RULES: Mapping[Any, Rule] = {
    **elementwise.RULES,
    **contraction.RULES,
    **reduction.RULES,
    **reshaping.RULES,
    **joining.RULES,
    **attention.RULES,
}
"""Operator packet (``aten.add``), or one overload of it, to its rule."""


def find_rule(target: Any) -> Rule | None:
    """The rule for what a node calls; None where there is none."""
    if target in RULES:
        return RULES[target]
    return RULES.get(target.overloadpacket) if isinstance(target, OpOverload) else None
