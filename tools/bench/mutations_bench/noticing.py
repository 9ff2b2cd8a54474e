"""What has to notice an error in the operator rules: generated graphs, and small tests."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from mutations_bench.mutants import COUPLING, Mutant

ROOT = Path(__file__).resolve().parents[3]
GRAPHS = {"tokens": 160, "image": 80}
FIRST_GRAPHS, MORE_GRAPHS = 6, 24
"""So many graphs that reach an error are tried before the small tests are, and after them."""
TESTS = ("tests/unit/passes/coupling", "tests/unit/passes/test_coupling.py")
NOT_OF_RULES = "tests/unit/passes/coupling/test_plugged_in_rules.py"


@dataclass(frozen=True)
class Graph:
    """A generated graph, and what it reaches of the rules."""

    recipe: Any
    seconds: float
    lines: frozenset[tuple[str, int]]
    rules: frozenset[int]

    def reaches(self, mutant: Mutant) -> bool:
        """Whether the graph has an operator of the rule, or comes by the statement."""
        if mutant.rule is not None:
            return id(mutant.rule) in self.rules
        first, last = mutant.lines
        return any((mutant.file, line) in self.lines for line in range(first, last + 1))


def generate(files: frozenset[str], show: Callable[[], None]) -> list[Graph]:
    """The first graphs of the property test, all of which must be well; quickest first.

    Args:
        files: Source files of the rules, to be watched.
        show: Called after each graph.
    """
    graphs: list[Graph] = []

    def visit(recipe: Any) -> None:
        find_rule = import_module(COUPLING).find_rule
        program = import_module("support.graphs").build(recipe)
        started = time.perf_counter()
        lines = _lines_of(files, lambda: require_laws(recipe))
        seconds = time.perf_counter() - started
        rules = frozenset(
            id(find_rule(node.target))
            for node in program.main.graph.nodes
            if node.op == "call_function"
        )
        graphs.append(Graph(recipe, seconds, lines, rules))
        show()

    for stream, count in GRAPHS.items():
        import_module("support.graphs").visit_recipes(stream, count, visit)
    return sorted(graphs, key=lambda graph: graph.seconds)


def require_laws(recipe: Any) -> None:
    """What the property test asks of one graph."""
    import_module("property.test_random_graphs").require_laws_on(recipe, Counter())


def _lines_of(files: frozenset[str], run: Callable[[], None]) -> frozenset[tuple[str, int]]:
    """The lines of these files that a call comes by."""
    found: set[tuple[str, int]] = set()
    codes: dict[CodeType, bool] = {}

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code not in codes:
            codes[code] = code.co_filename in files
        return note if codes[code] else None

    def note(frame: FrameType, event: str, argument: Any) -> Any:
        found.add((frame.f_code.co_filename, frame.f_lineno))
        return note

    sys.settrace(enter)
    try:
        run()
    finally:
        sys.settrace(None)
    return frozenset(found)


def noticed_by(graphs: Sequence[Graph]) -> str | None:
    """The first of these graphs or of the small tests that notices what is planted; or None."""
    first, rest = graphs[:FIRST_GRAPHS], graphs[FIRST_GRAPHS : FIRST_GRAPHS + MORE_GRAPHS]
    return noticed_by_a_graph(first) or noticed_by_a_test() or noticed_by_a_graph(rest)


def noticed_by_a_graph(graphs: Sequence[Graph]) -> str | None:
    """The first graph on which a law does not hold, with what went wrong."""
    for graph in graphs:
        try:
            require_laws(graph.recipe)
        except Exception as error:  # a wrong rule may end in any
            first = (str(error).strip().splitlines() or [""])[0]
            return f"{_spelled(graph.recipe)}: {type(error).__name__}: {first}"
    return None


def _spelled(recipe: Any) -> str:
    dynamic = ", dynamic" if recipe.is_dynamic else ""
    return f"{recipe.stream}({', '.join(recipe.blocks)}; seed {recipe.seed}{dynamic})"


class _FirstFailure:
    """A pytest plug-in that keeps the name of what failed first."""

    name: str | None = None

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.name = self.name or report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        self.pytest_runtest_logreport(report)


def noticed_by_a_test() -> str | None:
    """The first small test that fails."""
    for name in [n for n in sys.modules if n.startswith("tests.")]:
        del sys.modules[name]  # some analyse a program while they are imported
    first = _FirstFailure()
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    options += [f"--ignore={ROOT / NOT_OF_RULES}"]
    options += ["-c", str(ROOT / "pyproject.toml")]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.chdir(ROOT):
        code = pytest.main([*options, *(str(ROOT / test) for test in TESTS)], plugins=[first])
    if code != pytest.ExitCode.OK and first.name is None:
        raise RuntimeError(f"pytest ended with {code!r}")
    return first.name
