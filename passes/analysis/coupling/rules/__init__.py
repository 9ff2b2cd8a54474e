"""One rule for each family of ATen operators, in one table that other packages extend."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from torch._ops import OpOverload

from prunec.passes.analysis.coupling.rules import (
    attention,
    choosing,
    contraction,
    convolution,
    elementwise,
    images,
    joining,
    normalisation,
    recurrent,
    reduction,
    reshaping,
    writing,
)
from prunec.passes.analysis.coupling.site import Rule

GROUP = "prunec.op_rules"
"""Entry point group: each entry is a mapping like `RULES`, from operators to rules."""

RULES: Mapping[Any, Rule] = {
    **elementwise.RULES,
    **contraction.RULES,
    **convolution.RULES,
    **images.RULES,
    **recurrent.RULES,
    **normalisation.RULES,
    **reduction.RULES,
    **choosing.RULES,
    **reshaping.RULES,
    **joining.RULES,
    **writing.RULES,
    **attention.RULES,
}
"""Operator packet (``aten.add``), or one overload of it, to its rule."""

TAKES_POSITIONS = frozenset(choosing.RULES)
"""Operators that may be given positions along an axis as an index."""


class RuleError(Exception):
    """Another package's operator rules cannot be used; the message names the package."""


@functools.cache
def all_rules() -> Mapping[Any, Rule]:
    """The rules of prunec and of every installed package that offers some.

    Raises:
        RuleError: two owners have a rule for one operator, or a table cannot be loaded.
    """
    rules: dict[Any, Rule] = dict(RULES)
    owners = dict.fromkeys(RULES, "prunec")
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        owner = point.dist.name if point.dist else point.value
        try:
            table = dict(point.load())
        except Exception as error:  # a package's import may raise anything
            raise RuleError(f"{owner}: its operator rules {point.value} do not load") from error
        for operator, rule in table.items():
            if operator in owners:
                raise RuleError(f"{operator} has a rule of {owners[operator]} and one of {owner}")
            rules[operator], owners[operator] = rule, owner
    return rules


def find_rule(target: Any) -> Rule | None:
    """The rule for what a node calls; None where there is none."""
    return _lookup(all_rules(), target)


def takes_positions(target: Any) -> bool:
    """Whether an operator may be given positions along an axis as an index."""
    packet = target.overloadpacket if isinstance(target, OpOverload) else None
    return target in TAKES_POSITIONS or packet in TAKES_POSITIONS


def _lookup(rules: Mapping[Any, Rule], target: Any) -> Rule | None:
    if target in rules:
        return rules[target]
    return rules.get(target.overloadpacket) if isinstance(target, OpOverload) else None
