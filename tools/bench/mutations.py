"""Plant one error at a time in the operator rules, and see whether a test notices.

    python tools/bench/mutations.py
    python tools/bench/mutations.py --only joining.py gather.py
    python tools/bench/mutations.py --only survivors
    python tools/bench/mutations.py --list

The errors are generated, see `mutations_bench.mutants`. The laws are tried on generated graphs
that reach an error, and the small tests of the coupling. Exit code: 0, or 1 if an error goes
unnoticed that is not known to change nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools" / "importroot"), str(ROOT / "tests")]
RESULTS = ROOT / "tools" / "bench" / "results" / "mutations.json"


def main(arguments: list[str] | None = None) -> int:
    """Try what is wanted and write both files."""
    options = _parse(arguments)
    mutants = import_module("mutations_bench.mutants").all_mutants()
    before = json.loads(options.out.read_text())["mutants"] if options.out.is_file() else {}
    wanted = _wanted(mutants, options.only, before)
    if options.list:
        for mutant in wanted:
            print(f"{mutant.place:24}{mutant.name}")
        return 0
    warnings.simplefilter("ignore")  # of libraries, about their own future
    logging.disable()  # torch tells of every call that a wrong cut makes impossible
    machine = import_module("shared.machine").describe(ROOT)
    found = dict(before)
    for name, row in _try(wanted):
        found[name] = row
        _write(options.out, {"machine": machine, "mutants": _ordered(found, mutants)})
    return _tell([found[m.name] | {"name": m.name} for m in wanted])


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Plant errors in the operator rules, one at a time; a test must notice each.",
        epilog="example: python tools/bench/mutations.py --only joining.py",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON; a .md goes beside it")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="WHAT",
        help="source files such as joining.py, parts of names, or 'survivors' of the last run",
    )
    parser.add_argument("--list", action="store_true", help="print the errors and stop")
    return parser.parse_args(arguments)


def _wanted(mutants: Sequence[Any], only: list[str] | None, before: Mapping[str, Any]) -> list[Any]:
    if not only:
        return list(mutants)
    alive = {name for name, row in before.items() if row["outcome"] == "survived"}
    return [
        m
        for m in mutants
        if any(part == Path(m.file).name or part in m.name for part in only)
        or ("survivors" in only and (m.name in alive or m.name not in before))
    ]


def _try(wanted: Sequence[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Plant each of these; by name, what noticed it."""
    tests = import_module("mutations_bench.noticing")
    equivalent = import_module("mutations_bench.equivalent").EQUIVALENT
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        if (failing := tests.noticed_by_a_test()) is not None:
            raise SystemExit(f"{failing} fails without any planted error")
        task = progress.add_task("graphs", total=sum(tests.GRAPHS.values()))
        files = frozenset(m.file for m in wanted)
        graphs = tests.generate(files, lambda: progress.advance(task))
        task = progress.add_task("errors", total=len(wanted))
        for mutant in wanted:
            progress.update(task, description=mutant.place)
            reaching = [graph for graph in graphs if graph.reaches(mutant)]
            started = time.perf_counter()
            with mutant.plant():
                by = tests.noticed_by(reaching)
            outcome = "noticed" if by else "survived"
            if not by and mutant.name in equivalent:
                outcome, by = "changes nothing", equivalent[mutant.name]
            yield (
                mutant.name,
                {
                    "place": mutant.place,
                    "text": mutant.text,
                    "graphs": len(reaching),
                    "outcome": outcome,
                    "by": by,
                    "seconds": round(time.perf_counter() - started, 1),
                },
            )
            progress.advance(task)


def _ordered(found: Mapping[str, Any], mutants: Sequence[Any]) -> dict[str, Any]:
    """In the order of the source, without what is there no longer."""
    return {m.name: found[m.name] | {"place": m.place} for m in mutants if m.name in found}


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        path: json.dumps(document, indent=1) + "\n",
        path.with_suffix(".md"): import_module("mutations_bench.table").to_markdown(document),
    }
    for target, text in texts.items():
        partial = target.with_name(f".{target.name}.partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, target)


def _tell(rows: Sequence[Mapping[str, Any]]) -> int:
    alive = [row for row in rows if row["outcome"] == "survived"]
    if alive:
        table = Table("where", "what no test noticed", "graphs that reach it")
        for row in alive:
            table.add_row(row["place"], escape(row["name"]), str(row["graphs"]))
        Console().print(table)
    print(f"{len(rows)} errors planted, {len(alive)} of them unnoticed")
    return 1 if alive else 0


if __name__ == "__main__":
    raise SystemExit(main())
