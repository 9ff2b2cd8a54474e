"""From the JSON of `mutations.py` to the Markdown tables that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

OUTCOMES = ("noticed", "changes nothing", "survived")

_HEAD = """# Errors planted in the operator rules

{total} errors, one at a time: a rule without its cut, its neutral value or its word on positions,
and in the functions of the rules every statement left out that only calls something. Written by
`python tools/bench/mutations.py`.

{noticed} were noticed: {by_graph} by a law on a generated graph, {by_test} by a small test. {same}
change nothing. {alive} went unnoticed.
"""


def to_markdown(document: Mapping[str, Any]) -> str:
    """How many of each file were noticed, and by what each one was."""
    rows = document["mutants"]
    counts = Counter(row["outcome"] for row in rows.values())
    by_test = sum(row["outcome"] == "noticed" and "::" in row["by"] for row in rows.values())
    head = _HEAD.format(
        total=len(rows),
        noticed=counts["noticed"],
        by_graph=counts["noticed"] - by_test,
        by_test=by_test,
        same=counts["changes nothing"],
        alive=counts["survived"],
    )
    return "\n".join([head, *_by_file(rows), "", *_by_mutant(rows)]) + "\n"


def _by_file(rows: Mapping[str, Any]) -> Iterator[str]:
    counts = Counter((row["place"].split(":")[0], row["outcome"]) for row in rows.values())
    yield "| file | " + " | ".join(OUTCOMES) + " |"
    yield "|---" * (len(OUTCOMES) + 1) + "|"
    for file in dict.fromkeys(file for file, _ in counts):
        cells = [str(counts[file, outcome]) for outcome in OUTCOMES]
        yield f"| {file} | {' | '.join(cells)} |"


def _by_mutant(rows: Mapping[str, Any]) -> Iterator[str]:
    yield "| error: left out | at | graphs that reach it | noticed by |"
    yield "|---|---|---|---|"
    for name, row in rows.items():
        by = row["by"] if row["outcome"] == "noticed" else f"*{row['outcome']}* {row['by'] or ''}"
        cells = (f"`{name}`", row["place"], str(row["graphs"]), by.strip())
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
