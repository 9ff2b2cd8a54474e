"""Limits: how many units of each structure may go, and in groups of how many."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.contract import PassError
from prunec.passes.plan.numbers import is_named, number_of, require_known

SPANNING = ("residual", "layer")
"""Kinds that run through the whole depth: an index of theirs is not that of a layer."""

_COUNTED = ("kv-group", "head", "query-head-in-group", "expert", "layer")
"""Kinds that count blocks and are no widths: `multiple` means nothing for them."""

_FEED_FORWARD = {"ffn-channel", "expert-channel"}
"""Kinds that are the width of a feed-forward: what holds for one holds for the other."""


@dataclass(frozen=True)
class Limits:
    """What may happen to one structure.

    Attributes:
        least: How many units stay at least.
        most: How many stay at most; the structure's size where none has to go.
        group: Where any go, the number that stay is a multiple of this.
        protected: Units that stay whatever happens: branches of protected layers.
    """

    least: int
    most: int
    group: int = 1
    protected: frozenset[int] = frozenset()


@dataclass(frozen=True)
class LimitRules:
    """Limits as they are asked for.

    Attributes:
        floor: Share of its units that every structure keeps at least.
        ceiling: Share that it keeps at most.
        floors: Shares for some kinds or names, in place of `floor`.
        ceilings: The same for `ceiling`.
        multiples: Group sizes for some kinds or names.
        protect: Indices of layers, or kinds, names and patterns of names, that stay whole.
    """

    floor: float
    ceiling: float
    floors: Mapping[str, float]
    ceilings: Mapping[str, float]
    multiples: Mapping[str, float]
    protect: Sequence[str]

    def of(
        self, coupling: Coupling, structures: Sequence[Structure], finest: str, multiple: int
    ) -> list[Limits]:
        """The limits of each of these structures.

        Args:
            coupling: Where they are from.
            structures: Those that are allocated.
            finest: The kind of which a multiple of `multiple` stays where nothing else is said;
                only where its units are a width. Channels of experts go with other channels.
            multiple: See `finest`.

        Raises:
            PassError: something is named that is not there, or a floor is above a ceiling.
        """
        for option in ("floors", "ceilings", "multiples"):
            require_known(option, list(getattr(self, option)), coupling)
        whole = self._protected(coupling)
        wide = _FEED_FORWARD if finest in _FEED_FORWARD else {finest} - set(_COUNTED)
        return [
            Limits(s.size, s.size)
            if s.name in whole
            else self._limits(coupling, s, multiple if s.kind in wide else 1, whole)
            for s in structures
        ]

    def _limits(
        self, coupling: Coupling, structure: Structure, multiple: int, whole: Collection[str]
    ) -> Limits:
        size = structure.size
        group = int(number_of(structure, self.multiples, multiple))
        floor = number_of(structure, self.floors, self.floor)
        ceiling = number_of(structure, self.ceilings, self.ceiling)
        protected = _protected_branches(coupling, structure, whole)
        least = max(structure.least, int(floor * size), len(protected))
        least = min(size, -(-least // group) * group)
        most = size if ceiling >= 1 else int(ceiling * size) // group * group
        if most < least:
            raise PassError(
                f"{structure.name} may keep {most} of its {size} units at most (ceiling "
                f"{ceiling:g}) and has to keep {least} at least (floor {floor:g}, protected "
                f"units, groups of {group}): raise the ceiling or lower the floor"
            )
        return Limits(least, most, group, protected)

    def _protected(self, coupling: Coupling) -> set[str]:
        """The names of the structures that stay whole."""
        within = (s.index for s in coupling.structures if s.kind not in SPANNING)
        depth = 1 + max(within, default=-1)
        found: set[str] = set()
        names = [what for what in self.protect if not _is_index(what)]
        require_known("protect", names, coupling)
        for what in self.protect:
            if _is_index(what):
                index = int(what) + (depth if int(what) < 0 else 0)
                if not 0 <= index < depth:
                    there = f"the layers are 0 to {depth - 1}" if depth else "there are no layers"
                    raise PassError(f"protect={what}: {there}")
                found |= {
                    s.name
                    for s in coupling.structures
                    if s.index == index and s.kind not in SPANNING
                }
            else:
                found |= {s.name for s in coupling.structures if is_named(s, what)}
        return found


def _is_index(what: str) -> bool:
    return what.removeprefix("-").isdigit()


def _protected_branches(
    coupling: Coupling, structure: Structure, whole: Collection[str]
) -> frozenset[int]:
    """The branches of a stream that hold weights of a structure that stays whole."""
    held = [s for s in coupling.structures if s.name in whole and s.kind not in SPANNING]
    kept = {member.weight for s in held for member in s.members}
    found = (b.branches for b in coupling.branches if b.atom is structure.atom)
    return frozenset(
        unit
        for branches in found
        for unit, branch in enumerate(branches)
        if kept & branch.parameters.keys()
    )
