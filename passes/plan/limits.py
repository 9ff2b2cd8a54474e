"""Limits: how many units of each structure may go, and in groups of how many."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.coupling.layers import SPANNING, Layer, find_layers
from prunec.passes.contract import PassError
from prunec.passes.plan.numbers import is_named, number_of, require_known

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
        protect: What stays whole: layers by depth (`find_layers`), from 0 on or from -1 backwards,
            or kinds, names and patterns of names.
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
        layers = self._protected_layers(coupling)
        whole = self._whole(coupling, layers)
        weights = _weights(coupling, whole).union(*(layer.weights for layer in layers))
        wide = _FEED_FORWARD if finest in _FEED_FORWARD else {finest} - set(_COUNTED)
        return [
            Limits(s.size, s.size)
            if s.name in whole
            else self._limits(coupling, s, multiple if s.kind in wide else 1, weights)
            for s in structures
        ]

    def _limits(
        self, coupling: Coupling, structure: Structure, multiple: int, weights: Collection[str]
    ) -> Limits:
        size = structure.size
        group = int(number_of(structure, self.multiples, multiple))
        floor = number_of(structure, self.floors, self.floor)
        ceiling = number_of(structure, self.ceilings, self.ceiling)
        protected = _protected_branches(coupling, structure, weights)
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

    def _protected_layers(self, coupling: Coupling) -> list[Layer]:
        """The layers that are protected by their depth."""
        asked = [int(what) for what in self.protect if _is_index(what)]
        layers = find_layers(coupling) if asked else ()
        depth = len(layers)
        for index in asked:
            if not -depth <= index < depth:
                there = f"the layers are 0 to {depth - 1}" if depth else "there are no layers"
                raise PassError(f"protect={index}: {there}")
        return [layers[index] for index in asked]

    def _whole(self, coupling: Coupling, layers: Sequence[Layer]) -> set[str]:
        """The names of the structures that stay whole."""
        names = [what for what in self.protect if not _is_index(what)]
        require_known("protect", names, coupling)
        named = {s.name for s in coupling.structures if any(is_named(s, what) for what in names)}
        return named.union(*(layer.structures for layer in layers))


def _is_index(what: str) -> bool:
    return what.removeprefix("-").isdigit()


def _weights(coupling: Coupling, whole: Collection[str]) -> set[str]:
    """The weights that carry structures of one layer which stay whole."""
    held = [s for s in coupling.structures if s.name in whole and s.kind not in SPANNING]
    return {member.weight for s in held for member in s.members}


def _protected_branches(
    coupling: Coupling, structure: Structure, weights: Collection[str]
) -> frozenset[int]:
    """The branches of a stream that hold some of these weights."""
    found = (b.branches for b in coupling.branches if b.atom is structure.atom)
    return frozenset(
        unit
        for branches in found
        for unit, branch in enumerate(branches)
        if not branch.parameters.keys().isdisjoint(weights)
    )
