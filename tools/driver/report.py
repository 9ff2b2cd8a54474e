"""Put together what a job found out, and write it for machines and for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunec.driver.choosing import describe_choice
from prunec.driver.doubts import doubt_report
from prunec.driver.formats import format_json
from prunec.driver.machine import describe_machine, peak_memory_bytes, versions
from prunec.driver.page import render_page
from prunec.driver.preflight import REPORT
from prunec.driver.tasks import Task
from prunec.passes.analysis.cost import measure
from prunec.passes.ir import Program, replaced_file
from prunec.passes.spec import format_pipeline

if TYPE_CHECKING:
    from prunec.driver.stages import Job

Report = Mapping[str, Any]
FORMAT = 2
PAGE = "report.html"
ONNX = "onnx"

_FILES = (
    (PAGE, "the report, for a browser"),
    (REPORT, "the same for machines"),
    ("program", "the pruned program, for prunec"),
    (
        "plan.json",
        "which units stay (of several plans the last); one made for the checkpoint replays on it",
    ),
    (ONNX, ""),  # the task says what is in it
    ("engine", "TensorRT engine with its manifest"),
)


def write_report(job: Job, dense: Program, pruned: Program) -> Report:
    """Write ``report.json`` and ``report.html`` into the unfinished folder."""
    report = build_report(job, dense, pruned)
    folder = job.staging.folder
    with replaced_file(folder / PAGE) as partial:
        partial.write_text(render_page(report), encoding="utf-8")
    with replaced_file(folder / REPORT) as partial:
        partial.write_text(format_json(report), encoding="utf-8")
    return report


def build_report(job: Job, dense: Program, pruned: Program) -> Report:
    """Everything that is known about the result, as JSON values."""
    report = _build(job, dense, pruned)
    return {**report, "warnings": [doubt.to_json() for doubt in doubt_report(report)]}


def _build(job: Job, dense: Program, pruned: Program) -> Report:
    results = job.staging.results
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "key": job.staging.key,
        "model": {"reference": job.checkpoint.reference, **dense.origin},
        "task": job.task.name,
        "pipeline": format_pipeline(job.passes),
        "recipe": job.recipe.model_dump(mode="json"),
        "sizes": {"before": measure(dense).to_json(), "after": measure(pruned).to_json()},
        "choice": describe_choice(dense, pruned),
        "quality": results["evaluate"]["quality"],
        "answers": results["evaluate"]["answers"],
        "kinds": results["passes"]["kinds"],
        "plan": results["passes"]["plan"],
        "passes": results["passes"]["records"],
        "calibration": results["passes"]["calibration"],
        "folder": str(job.recipe.output.folder),
        "files": list(list_files(job.staging.folder, job.task)),
        "next_steps": list(next_steps(job)),
        "method": list(describe_method(job)),
        "stages": {name: result["seconds"] for name, result in results.items()},
        "peak_memory_bytes": peak_memory_bytes(),
        "versions": versions(),
        "machine": describe_machine(),
    }


def list_files(folder: Path, task: Task) -> Iterator[dict[str, Any]]:
    """The parts of a result, with what each is for and its size."""
    for name, words in _FILES:
        what = task.onnx if name == ONNX else words
        path = folder / name
        files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
        size = sum(f.stat().st_size for f in files if f.is_file())
        if path.is_dir():
            yield {"path": f"{name}/", "what": what, "size_bytes": size}
        elif path.is_file() or name in (PAGE, REPORT):  # which are written last
            yield {"path": name, "what": what, "size_bytes": size or None}


def next_steps(job: Job) -> Iterator[dict[str, str]]:
    """Commands that a user is likely to want now."""
    folder, reference = job.recipe.output.folder, job.checkpoint.reference
    yield {
        "what": "Check that every part computes the same",
        "command": f"prunec check {folder}",
    }
    yield from job.task.next_steps(folder, reference)


def describe_method(job: Job) -> Iterator[str]:
    """How the numbers came about, in sentences."""
    results, recipe = job.staging.results, job.recipe
    quality, calibration = results["evaluate"]["quality"], results["passes"]["calibration"]
    held_out = quality["text"]
    measured = ", ".join(figure.label for figure in job.task.figures(quality))
    yield (
        f"{measured}: over {held_out['windows']} windows of {held_out['window_tokens']} tokens of "
        f"{_named(held_out)}, in {recipe.model.dtype}, in PyTorch. {job.task.method(quality)}"
    )
    yield (
        f"Importance and repair used {calibration['windows']} windows of "
        f"{calibration['window_tokens']} tokens of {_named(calibration)}; the two do not overlap."
    )
    if results["trace"]["left_out"]:
        yield results["trace"]["left_out"]
    if results["evaluate"]["answers"]:
        template = getattr(job.tokenizer, "chat_template", None)
        yield f"Answers are greedy, {'in' if template else 'without'} a chat template."
    yield (
        "Block parameters leave out embeddings and head. Weights are counted in "
        f"{recipe.model.dtype}; operations are two for each weight of a matrix product."
    )


def _named(text: Mapping[str, Any]) -> str:
    if text["source"] == "self":
        return f"text that the dense model wrote (seed {text['seed']})"
    return f"{text['source']} (SHA-256 {text['sha256'][:12]})"
