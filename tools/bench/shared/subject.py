"""What the benches share that prune one language model in many ways: its texts and their file."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prunec.backends.torch import TorchRunner
from prunec.frontend.calibration import (
    Author,
    CalibrationSet,
    CalibrationSpec,
    calibration_tokens,
)
from prunec.frontend.export import trace_model
from prunec.frontend.sources import find_checkpoint
from prunec.passes.analysis.cost import measure
from prunec.passes.contract import Context
from prunec.passes.ir import Program, ProgramError, load_program, replaced_file, save_program
from prunec.passes.ir.digest import digest_program, make_key
from prunec.passes.manager import run_pipeline
from shared.machine import describe

ROOT = Path(__file__).resolve().parents[3]


class Subject:
    """The dense model, its texts, and what a pipeline makes of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        checkpoint = find_checkpoint(options.model)
        self.tokenizer = checkpoint.load_tokenizer()
        self.dense = trace_model(checkpoint.load_model())

    def read(self, spec: CalibrationSpec) -> CalibrationSet:
        """Windows of a text; the source ``self`` is what the dense model writes."""
        is_written = spec.source == "self"
        author = Author(TorchRunner(self.dense).step, self.dense) if is_written else None
        return calibration_tokens(
            spec, self.tokenizer, author, cache=self._options.cache, notice=print
        )

    def protocol(self) -> dict[str, Any]:
        """What holds for every row, texts left out."""
        return {
            "model": self._options.model,
            "program": digest_program(self.dense).hex()[:16],
            "seed": self._options.seed,
            "dense": measure(self.dense).to_json(),
            "machine": describe(ROOT),
        }

    def prune(self, row: Any, calibration: CalibrationSet) -> tuple[Program, dict[str, Any]]:
        """The program that a row's pipeline makes, and what is to be said of the making.

        Where models are kept, one that is there is not made again.
        """
        if not self._options.models:
            return self._prune(row, calibration)
        key = make_key(
            ["passes"],
            row=row.to_json(),
            program=self.dense,
            text=calibration.tokens,
            seed=self._options.seed,
        )
        folder = self._options.models / f"{row.key.replace(' ', '-')}-{key[:16]}"
        kept = None if self._options.fresh else _read_kept(folder)
        if kept is not None:
            return kept
        pruned, found = self._prune(row, calibration)
        _keep(folder, pruned, found)
        return pruned, found

    def _prune(self, row: Any, calibration: CalibrationSet) -> tuple[Program, dict[str, Any]]:
        notices: list[str] = []
        context = Context(
            calibration=calibration.tokens,
            seed=self._options.seed,
            notice=notices.append,
            cache=self._options.cache,
        )
        started = time.perf_counter()
        pruned = run_pipeline(self.dense, row.passes, context)
        seconds = time.perf_counter() - started
        return pruned, {
            **row.to_json(),
            "sizes": measure(pruned).to_json(),
            "seconds": round(seconds, 1),
            "passes": [{"spec": r["spec"], "seconds": r["seconds"]} for r in pruned.records],
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "notices": notices,
            "plan": dict(context.plan.reasons) if context.plan is not None else {},
        }


def _keep(folder: Path, pruned: Program, found: Mapping[str, Any]) -> None:
    """Write a pruned program, and beside it what is to be said of its making."""
    save_program(pruned, folder)
    document = {"digest": digest_program(pruned).hex(), "found": found}
    with replaced_file(folder.with_name(f"{folder.name}.json")) as partial:
        partial.write_text(json.dumps(document, indent=1) + "\n")


def _read_kept(folder: Path) -> tuple[Program, dict[str, Any]] | None:
    """What `_keep` wrote; None where nothing was, or where it is damaged."""
    facts = folder.with_name(f"{folder.name}.json")
    if not facts.is_file():
        return None
    try:
        document = json.loads(facts.read_text())
        pruned = load_program(folder)
        if digest_program(pruned).hex() == document["digest"]:
            return pruned, document["found"]
    except (ProgramError, ValueError, KeyError, TypeError):
        pass
    print(f"{folder} is damaged: the model is pruned again")
    return None


class Comparison(Subject):
    """A subject with one text to measure on and one to calibrate on: many rows, one protocol."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        measured = CalibrationSpec(str(options.text), options.windows, 1024, seed=options.seed)
        self.text = self.read(measured)
        self.calibration = self.read(
            CalibrationSpec(
                options.calibration,
                options.calibration_windows,
                512,
                every=options.calibration_every,
                seed=options.seed,
            )
        )

    def protocol(self) -> dict[str, Any]:
        """What holds for every row."""
        return {
            **super().protocol(),
            "text": describe_text(self.text),
            "calibration": describe_text(self.calibration),
        }


def fill(
    options: argparse.Namespace,
    rows: Sequence[Any],
    protocol: Mapping[str, Any],
    run: Callable[[Any, dict[str, Any] | None], dict[str, Any]],
    write: Callable[[Path, dict[str, Any]], None],
) -> None:
    """Run the rows one after another, writing the files after each.

    Args:
        options: Those of `shared.options`.
        rows: Each with a `key`.
        protocol: What holds for every row.
        run: From a row, and what is known of it or None, to all that is to be known. What it
            returns as it was is not written again.
        write: From the results' path and the document to files.

    Raises:
        SystemExit: the rows that are there were made of another model, or with other texts.
    """
    document = json.loads(options.out.read_text()) if options.out.is_file() else {"rows": {}}
    if document["rows"]:
        _require_same(document["protocol"], protocol, options.out)
    document["protocol"] = protocol
    for place, row in enumerate(rows, start=1):
        print(f"[{place}/{len(rows)}] {row.key}", flush=True)
        known = None if options.fresh else document["rows"].get(row.key)
        found = run(row, known)
        if found is not known:
            document["rows"][row.key] = found
            write(options.out, document)
    write(options.out, document)
    print(options.out.with_suffix(".md"))


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any], out: Path) -> None:
    """Refuse to put rows beside others that say something else. Rows count their own windows."""
    there, wanted = _identity(before), _identity(now)
    there.setdefault("program", wanted.get("program"))  # older rows do not say
    if other := [key for key in wanted if there.get(key) != wanted[key]]:
        raise SystemExit(
            f"the rows of {out} were made with another {', '.join(other)}: "
            f"{[there.get(key) for key in other]}, now {[wanted[key] for key in other]}. "
            "Give these options, or another --out"
        )


def _identity(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """What all rows of a file have in common, flat."""
    parts = {"every": 1, **protocol.get("calibration", {}), "source": ""}
    texts = protocol["texts"].values() if "texts" in protocol else [protocol["text"]]
    names = (
        "model",
        "program",
        "seed",
        "pipeline",
        "calibration_windows",
        "verify_every",
        "refresh_every",
    )
    whole = {name: protocol[name] for name in names if name in protocol}
    return parts | whole | {"text": [text["sha256"] for text in texts]}


def write_texts(path: Path, document: Mapping[str, Any], markdown: str) -> None:
    """Write the document at a path and the table for people beside it, each at once or not."""
    texts = {".json": json.dumps(document, indent=1) + "\n", ".md": markdown}
    for suffix, text in texts.items():
        with replaced_file(path.with_suffix(suffix)) as partial:
            partial.write_text(text)


def describe_text(text: CalibrationSet) -> dict[str, Any]:
    """What a text is, wherever it lies: its digest identifies it."""
    source = str(text.description["source"])
    return {**text.description, "source": Path(source).name if Path(source).exists() else source}
