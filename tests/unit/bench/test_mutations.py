import importlib
from pathlib import Path
from types import ModuleType

import pytest

from support.small_programs import offered, through

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench"


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("mutations_bench.mutants")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("mutations_bench.table")


def test_an_error_is_planted_and_taken_out_again(mutants: ModuleType) -> None:
    found = {mutant.name: mutant for mutant in mutants.all_mutants()}
    program = through(lambda b, h: h)
    assert offered(program) == [("ffn-channel", 8)]
    with found["contraction.consume: site.use(Use.CONSUMED, a)"].plant():
        assert not offered(program)
    assert offered(program) == [("ffn-channel", 8)]


def test_a_rule_loses_its_cut_and_gets_it_back(mutants: ModuleType) -> None:
    found = {mutant.name: mutant for mutant in mutants.all_mutants()}
    mutant = found["joining.RULES[aten.slice]: no cut"]
    before = mutant.rule.cut
    with mutant.plant():
        assert mutant.rule.cut is not before
    assert mutant.rule.cut is before


def test_every_rule_and_every_unification_has_an_error(mutants: ModuleType) -> None:
    names = [mutant.name for mutant in mutants.all_mutants()]
    assert len(names) == len(set(names))
    coupling = Path(mutants.import_module(mutants.COUPLING).__file__).parent
    source = "".join(path.read_text() for path in sorted((coupling / "rules").glob("*.py")))
    assert sum("site.unify(" in name for name in names) == source.count("site.unify(")


def test_errors_that_nobody_notices_stand_out(table: ModuleType) -> None:
    row = {"place": "a.py:3", "text": "x", "graphs": 2, "seconds": 0.1}
    rows = {
        "a.f: x": row | {"outcome": "noticed", "by": "tests/a.py::test_a[1 | 2]"},
        "a.g: x": row | {"outcome": "survived", "by": None},
        "a.h: x": row | {"outcome": "changes nothing", "by": "it is said elsewhere"},
    }
    text = table.to_markdown({"mutants": rows})
    assert "| a.py | 1 | 1 | 1 |" in text
    assert "| `a.f: x` | a.py:3 | 2 | tests/a.py::test_a[1 \\| 2] |" in text
    assert "| `a.g: x` | a.py:3 | 2 | *survived* |" in text
    assert "*changes nothing* it is said elsewhere |" in text
