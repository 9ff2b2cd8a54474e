from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from prunec.passes import catalogue
from prunec.passes.catalogue import CatalogueError, known_passes
from prunec.passes.contract import Context, Pass
from prunec.passes.manager import run_pipeline
from prunec.passes.spec import parse_pipeline
from support.models import small_program


def test_every_pass_of_ours_can_be_loaded_and_explains_itself() -> None:
    for entry in known_passes().values():
        assert issubclass(entry.pass_class, Pass)
        assert entry.pass_class.__doc__


def test_a_third_party_pass_is_found_and_runs(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(installed))
    assert known_passes()["scale-weights"].owner == "prunec-third-party"
    program = small_program()
    after = run_pipeline(program, parse_pipeline("scale-weights{factor=0.5}"), Context())
    name = next(iter(program.parameters()))
    assert (after.weights[name] * 2).equal(program.weights[name])
    assert after.records[-1]["spec"] == "scale-weights{factor=0.5}"


def test_a_name_clash_names_both_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    class Distribution:
        name = "somebody-else"

    point = EntryPoint("refit", "theirs:Refit", catalogue.GROUP)
    vars(point)["dist"] = Distribution()
    monkeypatch.setattr(catalogue, "_offered", lambda: [point])
    with pytest.raises(CatalogueError, match=r"'refit': prunec .* and somebody-else"):
        known_passes()


def test_a_pass_that_cannot_be_imported_names_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("broken", "no_such_module:Broken", catalogue.GROUP)
    monkeypatch.setattr(catalogue, "_offered", lambda: [point])
    with pytest.raises(CatalogueError, match="'broken' of an unnamed package"):
        _ = known_passes()["broken"].pass_class
