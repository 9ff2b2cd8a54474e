from __future__ import annotations

from importlib import metadata

import pytest
from packaging.requirements import Requirement

from prunec.driver import tested_versions
from prunec.driver.tested_versions import requirements, tell_untested, untested


def test_versions_inside_of_the_ranges_are_passed_over() -> None:
    installed = metadata.version("numpy")
    assert not list(untested([Requirement(f"numpy=={installed}"), Requirement("no-such-thing>=9")]))


@pytest.mark.parametrize("specifier", ["<0.1", ">=999", "==0.3"])
def test_a_version_outside_of_its_range_is_named(specifier: str) -> None:
    (found,) = untested([Requirement(f"numpy{specifier}")])
    assert found == f"numpy {metadata.version('numpy')} (tested: {specifier})"


def test_every_library_of_the_project_is_looked_at() -> None:
    names = {requirement.name for requirement in requirements()}
    assert {"torch", "transformers", "onnx", "onnxscript", "tensorrt-rtx"} <= names


def test_what_is_declared_is_the_same_without_an_installed_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = {r.name for r in requirements()}

    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(tested_versions.metadata, "requires", absent)
    assert {r.name for r in requirements()} == installed


def test_the_notice_says_what_is_installed_and_what_was_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tested_versions, "_declared", lambda: ["numpy<0.1"])
    told = tell_untested()
    assert told is not None
    assert "numpy" in told
    assert "tested: <0.1" in told
    monkeypatch.setattr(tested_versions, "_declared", list)
    assert tell_untested() is None
