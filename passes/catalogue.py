"""Every pass by name: ours, and those that other packages bring."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from prunec.passes.contract import Pass

GROUP = "prunec.passes"
"""The entry-point group in which a package offers passes: ``name = "module:Class"``."""

OWN = {
    "score": "prunec.passes.analysis.importance:Score",
    "allocate": "prunec.passes.plan:Allocate",
    "remove-structures": "prunec.passes.surgery:RemoveStructures",
    "select-experts": "prunec.passes.surgery:SelectExperts",
    "compensate-bias": "prunec.passes.repair:CompensateBias",
    "refit": "prunec.passes.repair:Refit",
    "reconstruct": "prunec.passes.repair:Reconstruct",
    "match-logits": "prunec.passes.repair:MatchLogits",
    "use-plain-operators": "prunec.passes.cleanup:UsePlainOperators",
    "drop-no-ops": "prunec.passes.cleanup:DropNoOps",
    "merge-duplicates": "prunec.passes.cleanup:MergeDuplicates",
    "drop-dead-nodes": "prunec.passes.cleanup:DropDeadNodes",
}


class CatalogueError(Exception):
    """A pass is not there, cannot be loaded, or two packages claim its name."""


@dataclass(frozen=True)
class CatalogueEntry:
    """A pass that can be named in a pipeline.

    Attributes:
        name: As it is written in pipelines.
        owner: The distribution that brings it.
        location: ``module:Class``.
    """

    name: str
    owner: str
    location: str

    @cached_property
    def pass_class(self) -> type[Pass]:
        """The class, imported at first use so that listing stays cheap.

        Raises:
            CatalogueError: it cannot be imported or is no pass of this name.
        """
        module, _, attribute = self.location.partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise CatalogueError(
                f"pass {self.name!r} of {self.owner} cannot be loaded: {error}"
            ) from error
        if not (isinstance(found, type) and issubclass(found, Pass)):
            raise CatalogueError(f"{self.location} of {self.owner} is not a Pass")
        if found.name != self.name:
            raise CatalogueError(
                f"{self.owner} offers {self.location} as {self.name!r}, "
                f"but the class calls itself {found.name!r}"
            )
        return found


def known_passes() -> dict[str, CatalogueEntry]:
    """All passes by name, ours first.

    Raises:
        CatalogueError: two packages claim one name; says which.
    """
    catalogue = {name: CatalogueEntry(name, "prunec", place) for name, place in OWN.items()}
    for point in _offered():
        entry = CatalogueEntry(point.name, _owner(point), point.value)
        there = catalogue.get(point.name)
        if there is not None and there != entry:
            raise CatalogueError(
                f"two packages offer a pass {point.name!r}: {there.owner} ({there.location}) and "
                f"{entry.owner} ({entry.location}). Uninstall one or rename its entry point"
            )
        catalogue[point.name] = entry
    return catalogue


def _offered() -> Iterable[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed package"
