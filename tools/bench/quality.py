r"""Prune a language model in many ways at several sizes and write what quality each leaves.

    python tools/bench/quality.py --text wiki.test.raw --calibration wiki.valid.raw \
        --calibration-every 8
    python tools/bench/quality.py --text wiki.test.raw --calibration wiki.valid.raw \
        --calibration-every 8 --recipes best --questions mc --keeps 0.8 0.5
    python tools/bench/quality.py --text t.txt --calibration c.txt --criteria saap taylor \
        --repairs refit --methods uniform --keeps 0.8 0.5 --windows 15 --out other.json

Every row is a pipeline; what is in the JSON file already is not run again, more windows or
questions measure a row anew (with --models without pruning it again), and rows with another
calibration text want a file of their own. A Markdown table and a plot go beside it. Perplexity:
windows of 1024 tokens of the text as one string, see `prunec.backends.measure.perplexity`. Time and
peak memory of a row are its own only where it is the only one of the command (``--recipes best
--keeps 0.8``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from quality_bench import rows
from shared.options import add_options
from shared.row import Row

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "importroot"))
RESULTS = ROOT / "tools" / "bench" / "results" / "quality.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the rows that are missing and write all files."""
    options = _parse(arguments)
    try:
        wanted = list(_wanted(options))
    except ValueError as error:
        sys.exit(f"quality.py: {error}")
    shared = import_module("shared.subject")
    bench = _Bench(options, shared.Comparison(options))
    shared.fill(options, wanted, bench.subject.protocol(), bench.run, _write)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog=__doc__.split("\n\n")[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, RESULTS, [0.9, 0.8, 0.7, 0.5])
    parser.add_argument("--questions", type=Path, help="folder of .jsonl multiple-choice tasks")
    parser.add_argument("--question-count", type=int, help="of each task; all where not given")
    parser.add_argument("--recipes", nargs="+", choices=sorted(rows.RECIPES), help="these alone")
    parser.add_argument("--criteria", nargs="+", metavar="NAME", help="all where not given")
    parser.add_argument("--repairs", nargs="+", choices=list(rows.REPAIRS), default=[*rows.REPAIRS])
    parser.add_argument("--methods", nargs="+", choices=list(rows.METHODS), default=[*rows.METHODS])
    return parser.parse_args(arguments)


def _wanted(options: argparse.Namespace) -> Iterator[Row]:
    yield Row("dense", 1.0, "")
    criteria = options.criteria or rows.all_criteria()
    for keep in options.keeps:
        if options.recipes:
            yield from (rows.recipe_row(name, keep) for name in options.recipes)
        else:
            yield from rows.grid(keep, criteria, options.methods, options.repairs)


class _Bench:
    """The model, and what is done with every row."""

    def __init__(self, options: argparse.Namespace, subject: Any) -> None:
        self._options = options
        self.subject = subject
        self._measure = import_module("prunec.backends.measure")
        self._answers: dict[str, Any] = {}
        self._questions = {
            task: self._measure.read_questions(
                options.questions / f"{task}.jsonl", options.question_count
            )
            for task in (rows.TASKS if options.questions else ())
        }

    def run(self, row: Row, known: dict[str, Any] | None) -> dict[str, Any]:
        """Prune as the row says and measure what of it is not known."""
        known = known or {}
        has_perplexity = known.get("windows") == self._options.windows
        missing = [t for t in self._questions if not self._is_answered(known, t)]
        if has_perplexity and not missing:
            return known
        pruned, facts = self.subject.prune(row, self.subject.calibration)
        runner = import_module("prunec.backends.torch").TorchRunner(pruned)
        found = {**known, **facts}
        if not has_perplexity:
            measured = self._measure.perplexity(runner, self.subject.text.tokens)
            kept = ("perplexity", "nll_stderr", "windows")
            found |= {key: getattr(measured, key) for key in kept}
        choices = {task: self._choose(runner, row, task) for task in missing}
        return {**found, "choices": {**known.get("choices", {}), **choices}}

    def _is_answered(self, known: dict[str, Any], task: str) -> bool:
        found = known.get("choices", {}).get(task, {})
        return bool(found.get("questions") == len(self._questions[task]))

    def _choose(self, runner: Any, row: Row, task: str) -> dict[str, Any]:
        """Accuracy on a task, and the difference to the dense model item by item."""
        normalised = rows.TASKS[task]
        asked = self._questions[task]
        found = self._measure.accuracy(runner, self.subject.tokenizer, asked)
        if task not in self._answers:
            self._answers[task] = self._dense_answers(found, asked, row)
        paired = self._measure.compare_accuracy(found, self._answers[task], normalised=normalised)
        return {
            "accuracy": found.to_json()["acc_norm" if normalised else "acc"],
            "difference": paired.difference,
            "difference_stderr": paired.stderr,
            "questions": len(asked),
        }

    def _dense_answers(self, found: Any, asked: Any, row: Row) -> Any:
        if row.name == "dense":
            return found
        runner = import_module("prunec.backends.torch").TorchRunner(self.subject.dense)
        return self._measure.accuracy(runner, self.subject.tokenizer, asked)


def _write(path: Path, document: dict[str, Any]) -> None:
    table = import_module("quality_bench.table")
    import_module("shared.subject").write_texts(path, document, table.to_markdown(document))
    with import_module("prunec.passes.ir").replaced_file(path.with_suffix(".svg")) as partial:
        table.plot(document, partial)


if __name__ == "__main__":
    sys.exit(main())
