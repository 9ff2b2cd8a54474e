"""Say which installed libraries are of versions that prunec has not been tested with."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import prunec


def tell_untested() -> str | None:
    """A sentence about the libraries outside of the tested ranges; None where there are none."""
    found = list(untested(requirements()))
    if not found:
        return None
    return (
        f"Not tested with {', '.join(found)}: results may be wrong. "
        "Versions that are tested: pip install -c constraints.txt, from a checkout of prunec"
    )


def untested(required: Sequence[Requirement]) -> Iterator[str]:
    """``name version (tested: range)`` of each installed library outside of its range."""
    for requirement in required:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} {version} (tested: {requirement.specifier})"


def requirements() -> list[Requirement]:
    """What prunec requires of libraries that it imports, with those of its extras."""
    texts = _declared()
    return [Requirement(text.partition(";")[0]) for text in dict.fromkeys(texts)]


def _declared() -> list[str]:
    """From the installed package; from pyproject.toml where prunec runs from a checkout."""
    try:
        return metadata.requires("prunec") or []
    except metadata.PackageNotFoundError:
        root = Path(prunec.__file__).resolve().parents[3]
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"].values()
        return [*project["dependencies"], *(text for extra in extras for text in extra)]
