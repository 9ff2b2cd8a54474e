"""Coupled-structure dependency analysis: which dimensions shrink together, and why not."""

from prunec.passes.analysis.coupling.rules import RuleError, find_rule
from prunec.passes.analysis.coupling.site import CutSite, Rule, Site, Use, Walk
from prunec.passes.analysis.coupling.structures import (
    Coupling,
    Member,
    RefusedAxis,
    Structure,
    find_structures,
)

__all__ = [
    "Coupling",
    "CutSite",
    "Member",
    "RefusedAxis",
    "Rule",
    "RuleError",
    "Site",
    "Structure",
    "Use",
    "Walk",
    "find_rule",
    "find_structures",
]
