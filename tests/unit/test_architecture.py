"""Imports point at the waist, and nothing is imported under a bare name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "passes": {"passes"},
    "frontend": {"frontend", "passes.ir"},
    "backends": {"backends", "passes.ir"},
}
FILES = [p for folder in MAY_IMPORT for p in (ROOT / folder).rglob("*.py")]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name.removeprefix("prunec.") for name in found if name.startswith("prunec.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_at_the_waist(path: Path) -> None:
    allowed = MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    for name in imported(path):
        assert any(name == a or name.startswith(f"{a}.") for a in allowed), f"imports {name}"


def test_the_ir_imports_nothing_of_ours_but_itself() -> None:
    for path in (ROOT / "passes" / "ir").glob("*.py"):
        assert all(name.startswith("passes.ir") for name in imported(path)), path.name


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_a_bare_import_is_refused(folder: str) -> None:
    command = [sys.executable, "-c", f"import {folder}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"import this package as prunec.{folder}" in result.stderr
