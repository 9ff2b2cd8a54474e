"""Coupled-structure dependency analysis: which dimensions shrink together, and why not."""

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
    "Site",
    "Structure",
    "Use",
    "Walk",
    "find_structures",
]
