r"""Let the prompt choose what decode reads, in many ways, and write what quality each leaves.

    python tools/bench/experts.py --text wiki.test.raw --calibration wiki.valid.raw --keeps 0.5
    python tools/bench/experts.py --text wiki.test.raw --calibration wiki.valid.raw \
        --rows griffin glass --windows 20 --generation gen --sample-count 20

Perplexity is that of the tokens of each window of 1024 after the first 512 as the prompt (or after
--prompt-tokens), one window or --batch of them at a time, on the whole and for each quarter of the
tokens; other prompts and batches want a results file of their own. See
`prunec.backends.measure.split_perplexity`. With --generation each row answers the prompts of coqa,
qasper and govreport in that folder greedily and is compared with the dense model's answers, see
`prunec.backends.measure.generated`; --verify-every and --refresh-every are options of the runner
there and want a results file of their own too. What is in the JSON file already is not run again:
more windows or samples run a row's measure anew.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from experts_bench.rows import PIPELINES, rows
from shared.options import add_options
from shared.row import Row

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "importroot"))
RESULTS = ROOT / "tools" / "bench" / "results" / "experts.json"
TASKS = ("coqa", "qasper", "govreport")


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing and write all files."""
    options = _parse(arguments)
    shared = import_module("shared.subject")
    bench = _Bench(options, shared.Comparison(options))
    wanted = list(rows(options.rows, options.keeps, bench.feed_forward_share()))
    shared.fill(options, wanted, bench.protocol(), bench.run, _write)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog=__doc__.split("\n\n")[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(parser, RESULTS, [0.75, 0.5, 0.25])
    parser.add_argument("--prompt-tokens", type=int, default=512, help="of each window of --text")
    parser.add_argument("--batch", type=int, default=1, help="windows that share what is chosen")
    parser.add_argument("--rows", nargs="*", choices=list(PIPELINES), default=[*PIPELINES])
    parser.add_argument("--generation", type=Path, help="folder of .jsonl prompts by task")
    parser.add_argument("--sample-count", type=int, help="of each task; all where not given")
    parser.add_argument("--new-tokens", type=int, default=128, help="of an answer at most")
    parser.add_argument("--max-prompt-tokens", type=int, default=1024, help="the end of a prompt")
    often = parser.add_mutually_exclusive_group()
    often.add_argument("--verify-every", type=int, metavar="N", help="tokens of an answer")
    often.add_argument("--refresh-every", type=int, metavar="N", help="tokens of an answer")
    return parser.parse_args(arguments)


class _Bench:
    """The model, and what is done with every row."""

    def __init__(self, options: argparse.Namespace, subject: Any) -> None:
        self._options = options
        self._subject = subject
        self._measure = import_module("prunec.backends.measure")
        self._torch = import_module("prunec.backends.torch")
        key = import_module("prunec.passes.ir.digest").make_key(
            ["passes/ir", "backends"],  # what runs and answers
            program=subject.dense,
            tokenizer=import_module("prunec.driver.job_key").tokenizer_files(subject.tokenizer),
        )
        self._answers = options.cache / f"answers-{key[:16]}.json"
        self._samples = {
            task: self._measure.read_samples(
                options.generation / f"{task}.jsonl", options.sample_count
            )
            for task in (TASKS if options.generation else ())
        }

    def protocol(self) -> dict[str, Any]:
        """What holds for every row."""
        cost = import_module("prunec.passes.analysis.cost")
        return {
            **self._subject.protocol(),
            "prompt_tokens": self._options.prompt_tokens,
            "batch": self._options.batch,
            **self._runner_options(),
            "dense_decode_bytes": cost.decode_bytes(self._subject.dense),
        }

    def _runner_options(self) -> dict[str, int | None]:
        """What is asked of the runner while it answers."""
        return {key: getattr(self._options, key) for key in ("verify_every", "refresh_every")}

    def feed_forward_share(self) -> float:
        """The share of the block parameters that carries feed-forward units."""
        dense = self._subject.dense
        coupling = import_module("prunec.passes.analysis.coupling").find_structures(dense)
        carrying = {m.weight for s in coupling.of_kind("ffn-channel") for m in s.members}
        whole = import_module("prunec.passes.analysis.cost").measure(dense).block_parameters
        share: float = sum(dense.weights[name].numel() for name in carrying) / whole
        return share

    def run(self, row: Row, known: dict[str, Any] | None) -> dict[str, Any]:
        """Prune as the row says and measure what of it is not known."""
        known = known or {}
        wanted = {key: getattr(self._options, key) for key in ("windows", "prompt_tokens", "batch")}
        has_perplexity = all(known.get(key) == value for key, value in wanted.items())
        asked = self._samples if row.pipeline else ()  # the dense answers are what all is held to
        missing = [task for task in asked if not self._is_answered(known, task)]
        if has_perplexity and not missing:
            return known
        cost = import_module("prunec.passes.analysis.cost")
        program, facts = self._subject.prune(row, self._subject.calibration)
        found = {**known, **facts, "decode_bytes": cost.decode_bytes(program)}
        if not has_perplexity:
            found |= self._perplexity(self._torch.open_runner(program))
        answers = {task: self._answer(program, task) for task in missing}
        return {**found, "generation": {**known.get("generation", {}), **answers}}

    def _perplexity(self, runner: Any) -> dict[str, Any]:
        found = self._measure.split_perplexity(
            runner,
            self._subject.text.tokens,
            prompt_tokens=self._options.prompt_tokens,
            batch=self._options.batch,
        )
        kept = ("perplexity", "nll", "nll_stderr", "window_nll", "quarter_nll", "windows")
        measured = {key: getattr(found, key) for key in (*kept, "prompt_tokens")}
        return measured | {"batch": self._options.batch}

    def _answer(self, program: Any, task: str) -> dict[str, Any]:
        found = self._measure.measure_generation(
            self._torch.ExpertsRunner(program, **self._runner_options()),
            self._torch.open_runner(self._subject.dense),
            self._subject.tokenizer,
            self._samples[task],
            self._options.new_tokens,
            max_prompt_tokens=self._options.max_prompt_tokens,
            stored=self._answers,
        )
        (quality,) = found.values()
        return {key: value for key, value in quality.to_json().items() if key != "items"}

    def _is_answered(self, known: dict[str, Any], task: str) -> bool:
        found = known.get("generation", {}).get(task)
        wanted = (
            len(self._samples[task]),
            self._options.new_tokens,
            self._options.max_prompt_tokens,
        )
        keys = ("samples", "new_tokens", "max_prompt_tokens")
        return found is not None and tuple(found[key] for key in keys) == wanted


def _write(path: Path, document: dict[str, Any]) -> None:
    table = import_module("experts_bench.table")
    import_module("shared.subject").write_texts(path, document, table.to_markdown(document))


if __name__ == "__main__":
    sys.exit(main())
