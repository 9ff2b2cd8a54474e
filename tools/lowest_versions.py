"""Print the lowest version of each dependency that pyproject.toml admits, as constraints of pip."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

# pip travels with every environment; it carries the reference implementation of version ranges.
from pip._vendor.packaging.requirements import Requirement

_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
_KEPT = ("torch",)
"""Not lowered: a CPU build of another version is not at hand everywhere."""


def lowest_versions(pyproject: Path) -> Iterator[str]:
    """``name==version`` for each requirement of the project and its extras that has a lower end."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(r for part in extras.values() for r in part)]
    for requirement in map(Requirement, wanted):
        applies = requirement.marker is None or requirement.marker.evaluate()
        if applies and requirement.name not in _KEPT:
            for end in requirement.specifier:
                if end.operator == ">=":
                    yield f"{requirement.name}=={end.version}"


if __name__ == "__main__":
    print(*dict.fromkeys(lowest_versions(_PYPROJECT)), sep="\n")
