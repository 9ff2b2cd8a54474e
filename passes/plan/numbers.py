"""Numbers for some structures, as text: ``ffn-channel=16``, ``heads/model.layers.0.*=0.5``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.contract import PassError


def parse_numbers(option: str, entries: Iterable[str]) -> dict[str, float]:
    """Read entries of the form ``WHAT=NUMBER``.

    Raises:
        ValueError: an entry is none.
    """
    found = {}
    for entry in entries:
        what, _, number = entry.rpartition("=")
        try:
            found[what] = float(number)
        except ValueError:
            what = ""
        if not what:
            raise ValueError(f"{option}: {entry!r} is not a kind or name with a number, as in a=1")
    return found


def number_of(structure: Structure, numbers: Mapping[str, float], default: float) -> float:
    """The number of the last entry that names the structure or its kind."""
    return next((n for w, n in reversed(list(numbers.items())) if is_named(structure, w)), default)


def is_named(structure: Structure, what: str) -> bool:
    """Whether this is its kind, its name, or a pattern of its name."""
    return structure.kind == what or fnmatchcase(structure.name, what)


def require_known(option: str, named: Sequence[str], coupling: Coupling) -> None:
    """Refuse what names nothing.

    Raises:
        PassError: no structure has such a kind or name; says which there are.
    """
    for what in named:
        if not any(is_named(s, what) for s in coupling.structures):
            kinds = sorted({s.kind for s in coupling.structures})
            raise PassError(
                f"{option} names {what!r}, and no structure has such a kind or name; the kinds "
                f"are {kinds}, a name is for example {coupling.structures[0].name}"
            )
