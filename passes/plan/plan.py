"""The plan: for each structure that is cut, the indices of the units that stay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.contract import PlanError
from prunec.passes.ir import Program, replaced_file
from prunec.passes.ir.axes import Atom
from prunec.passes.ir.selection import Kept, PerUnit

FORMAT = 1


@dataclass(frozen=True)
class Cut:
    """What stays of one structure.

    Attributes:
        structure: Its name.
        kind: Its kind, for people.
        index: Its place among those of its kind.
        size: How many units it has before the cut.
        keep: The units that stay, ascending; of a structure whose units are told apart by those
            of an outer one, such rows for each outer unit, all of one length.
    """

    structure: str
    kind: str
    index: int
    size: int
    keep: tuple[int, ...] | tuple[tuple[int, ...], ...]

    @property
    def kept_count(self) -> int:
        """How many units stay (of each outer unit)."""
        return len(self.rows[0])

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """The units that stay, one row where they are the same for all outer units."""
        rows = self.keep if self.is_per_unit else (self.keep,)
        return rows  # type: ignore[return-value]

    @property
    def is_per_unit(self) -> bool:
        """Whether each unit of an outer structure keeps its own."""
        return bool(self.keep) and isinstance(self.keep[0], tuple)


@dataclass(frozen=True)
class Plan:
    """A decision about a whole program, independent of its weights' values.

    Attributes:
        cuts: In the order of the structures; those that stay whole need no entry.
        fingerprint: Of the program that it was made for (`Program.fingerprint`).
        reasons: How it came about, for people: criterion, budget, seed.
    """

    cuts: tuple[Cut, ...]
    fingerprint: str
    reasons: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back to an equal plan."""
        cuts = [
            {
                "structure": c.structure,
                "kind": c.kind,
                "index": c.index,
                "size": c.size,
                "keep": [list(row) for row in c.rows] if c.is_per_unit else list(c.keep),
            }
            for c in self.cuts
        ]
        return {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "reasons": dict(self.reasons),
            "cuts": cuts,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """Read what `to_json` wrote.

        Raises:
            PlanError: it is not such an object.
        """
        if document.get("format") != FORMAT:
            raise PlanError(f"the plan has format {document.get('format')}, this reads {FORMAT}")
        try:
            cuts = tuple(Cut(**{**c, "keep": _tuples(c["keep"])}) for c in document["cuts"])
            return cls(cuts, document["fingerprint"], document["reasons"])
        except (KeyError, TypeError) as error:
            raise PlanError(f"the plan lacks a part or has one too many: {error}") from error

    def selection(self, program: Program, coupling: Coupling) -> dict[Atom, Kept]:
        """What stays of each axis of this program.

        Raises:
            PlanError: the plan was made for another program, or leaves a structure empty.
        """
        if program.fingerprint() != self.fingerprint:
            raise PlanError(
                f"the plan was made for a program with the fingerprint {self.fingerprint}, "
                f"this one has {program.fingerprint()}: same model, uncut, is needed"
            )
        selection: dict[Atom, Kept] = {}
        for cut in self.cuts:
            structure = coupling.find(cut.structure)
            if structure is None:
                known = [s.name for s in coupling.structures][:5]
                raise PlanError(f"no structure {cut.structure}; this program has {known} …")
            _require_valid(cut, structure)
            if cut.kept_count < structure.size:
                selection[structure.atom] = _kept(cut, structure)
        return selection


def _tuples(keep: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(tuple(row) if isinstance(row, list) else row for row in keep)


def _kept(cut: Cut, structure: Structure) -> Kept:
    if not cut.is_per_unit:
        return np.array(cut.keep, dtype=np.int64)
    assert structure.outer is not None
    return PerUnit(structure.outer, np.array(cut.keep, dtype=np.int64))


def _require_valid(cut: Cut, structure: Structure) -> None:
    if cut.size != structure.size:
        raise PlanError(f"{cut.structure} has {structure.size} units, the plan expects {cut.size}")
    if cut.is_per_unit and structure.outer is None:
        raise PlanError(f"{cut.structure}: its units cannot differ between those of another axis")
    if cut.is_per_unit and structure.outer is not None and len(cut.keep) != structure.outer.size:
        raise PlanError(
            f"{cut.structure}: {len(cut.keep)} rows of units for {structure.outer.size} outer units"
        )
    if len({len(row) for row in cut.rows}) > 1:
        raise PlanError(f"{cut.structure}: every outer unit must keep as many units as the others")
    if cut.kept_count < structure.least and structure.kind != "layer":
        raise PlanError(
            f"{cut.structure}: the plan leaves {cut.kept_count} of its {structure.size} units, at "
            f"least {structure.least} must stay"
        )
    for row in cut.rows:
        if list(row) != sorted(set(row)) or (row and not 0 <= row[0] <= row[-1] < structure.size):
            raise PlanError(
                f"{cut.structure}: units must be ascending, each once, below {structure.size}"
            )


def save_plan(plan: Plan, path: Path) -> None:
    """Write a plan as JSON."""
    with replaced_file(path) as partial:
        partial.write_text(json.dumps(plan.to_json(), indent=1) + "\n")


def load_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        PlanError: the file is missing or is no plan.
    """
    try:
        return Plan.from_json(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise PlanError(f"no plan at {path}") from error
    except (json.JSONDecodeError, AttributeError) as error:
        raise PlanError(f"{path} is not a plan: {error}") from error
