"""Operator rules that other packages bring."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from prunec.passes.analysis.coupling import RuleError, find_structures, rules
from prunec.passes.ir import Program
from support.builder import aten
from support.graphs import inputs_for
from support.laws import ROUNDING
from support.oracle import law_error
from support.small_programs import through

OURS = "prunec.passes.analysis.coupling.rules.elementwise:RULES"


@pytest.fixture(autouse=True)
def _rules_are_collected_anew() -> Iterator[None]:
    rules.all_rules.cache_clear()
    yield
    rules.all_rules.cache_clear()


def offer(monkeypatch: pytest.MonkeyPatch, **tables: str) -> None:
    """Pretend that these packages are installed, each with a table of rules."""
    points = []
    for package, location in tables.items():
        point = EntryPoint(package, location, rules.GROUP)
        vars(point)["dist"] = type("Distribution", (), {"name": package})()
        points.append(point)
    monkeypatch.setattr(rules, "entry_points", lambda group: points)


def unusual_program() -> Program:
    """A feed-forward whose activation has no rule of ours."""
    return through(lambda b, h: b.call(aten.special_erfcx.default, h))


def test_a_rule_of_an_installed_package_is_found_and_used(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = unusual_program()
    assert not find_structures(program).of_kind("ffn-channel")
    rules.all_rules.cache_clear()
    monkeypatch.syspath_prepend(str(installed))
    coupling = find_structures(program)
    (channels,) = coupling.of_kind("ffn-channel")
    selection = {channels.atom: np.array([1, 4])}
    assert law_error(program, coupling, selection, inputs_for(program)) < ROUNDING


def test_a_second_rule_for_an_operator_of_ours_names_both_owners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, somebody=OURS)
    with pytest.raises(RuleError, match=r"aten\.\w+ has a rule of prunec and one of somebody"):
        rules.all_rules()


def test_two_packages_with_a_rule_for_one_operator_are_named(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(installed))
    location = "prunec_third_party:OP_RULES"
    offer(monkeypatch, one=location, other=location)
    with pytest.raises(RuleError, match=r"special_erfcx has a rule of one and one of other"):
        rules.all_rules()


@pytest.mark.parametrize(
    "location", ["no_such_module:RULES", f"{OURS}_THAT_ARE_NOT_THERE", "math:pi"]
)
def test_a_table_that_cannot_be_used_names_its_owner(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, somebody=location)
    with pytest.raises(RuleError, match="somebody"):
        rules.all_rules()
