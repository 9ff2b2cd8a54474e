"""The stages of a job, in order; each can be taken over from an interrupted run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from prunec.backends.tensorrt import EngineOptions
from prunec.driver.kept import kept_by_kind
from prunec.driver.left_out import describe_left_out
from prunec.driver.lowering import build_engines, write_onnx
from prunec.driver.recipe import Recipe
from prunec.driver.staging import Staging
from prunec.driver.tasks import Task
from prunec.driver.terminal import Terminal
from prunec.frontend.calibration import (
    CalibrationSet,
    calibration_tokens,
)
from prunec.frontend.export import describe, trace_config, trace_model
from prunec.frontend.sources import Checkpoint, cache_folder
from prunec.passes.contract import Context, Pass, Record
from prunec.passes.ir import Program, cast, load_program, save_program
from prunec.passes.manager import run_pipeline
from prunec.passes.plan import save_plan


@dataclass(frozen=True)
class Job:
    """What every stage needs to know."""

    recipe: Recipe
    passes: tuple[Pass, ...]
    terminal: Terminal
    staging: Staging
    checkpoint: Checkpoint
    task: Task
    tokenizer: Any

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[dict[str, Any]]:
        """Show, time and remember a stage."""
        with self.terminal.stage(title), self.staging.stage(name) as result:
            yield result

    def is_done(self, name: str, title: str) -> bool:
        """Whether the stage can be skipped; says so."""
        if self.staging.is_done(name):
            self.terminal.say(f"  {title:<52} taken over from the interrupted run")
        return self.staging.is_done(name)


@dataclass(frozen=True)
class Text:
    """What is calibrated and what is measured on; the two do not overlap."""

    calibration: CalibrationSet
    held_out: CalibrationSet


def trace(job: Job) -> Program:
    """Trace the model of the configuration; no weight is read."""
    section = job.recipe.model
    with job.stage("trace", "Trace the model") as result:
        traced = trace_config(job.checkpoint.config, cache=section.cache, part=section.part)
        result["left_out"] = describe_left_out(traced.origin)
    if result["left_out"]:
        job.terminal.say(f"  {result['left_out']}")
    return traced


def load_dense(job: Job) -> Program:
    """Load the checkpoint, trace what was loaded, and compare both on a few tokens."""
    with job.stage("load", "Load the weights"):
        section = job.recipe.model
        model = job.checkpoint.load_model()
        dtype: torch.dtype = getattr(torch, section.dtype)
        # What a checkpoint holds can differ from its configuration, whose trace told the budgets.
        dense = trace_model(model, dtype, cache=section.cache, part=section.part)
        facts = describe(job.checkpoint.config, job.tokenizer)
        return replace(dense, origin={**dense.origin, **facts, "model": job.checkpoint.reference})


def find_text(job: Job, dense: Program) -> Text:
    """Obtain the calibration text and the text to measure on."""
    author = job.task.author(dense)
    with job.stage("text", "Calibration and test text"):
        found = [
            calibration_tokens(
                s,
                job.tokenizer,
                author,
                cache=cache_folder(),
                progress=job.terminal.progress,
                notice=job.terminal.say,
            )
            for s in job.task.text_specs(job.recipe)
        ]
    return Text(*found)


def prune(job: Job, dense: Program, text: Text) -> Program:
    """Run the pipeline and write the program and the plan."""
    title = "Run the passes"
    if job.is_done("passes", title):
        return load_program(job.staging.folder / "program")
    context = Context(
        calibration=text.calibration.tokens,
        seed=job.recipe.calibration.seed,
        progress=job.terminal.progress,
        notice=job.terminal.say,
        cache=cache_folder(),
    )
    records: list[Mapping[str, Any]] = []

    def observe(step: Pass, program: Program, record: Record) -> None:
        records.append(
            {
                "name": step.name,
                "spec": record.spec,
                "seconds": round(record.seconds, 3),
                "before": dict(record.before),
                "after": dict(record.after),
            }
        )
        job.terminal.say(f"    {record.spec:<50} {record.seconds:6.1f} s")

    with job.stage("passes", title) as result:
        pruned = run_pipeline(dense, job.passes, context, observe)
        save_program(pruned, job.staging.folder / "program")
        if context.plan is not None:
            save_plan(context.plan, job.staging.folder / "plan.json")
        result["records"] = records
        result["kinds"] = kept_by_kind(context.plan)
        result["plan"] = dict(context.plan.reasons) if context.plan is not None else None
        result["calibration"] = dict(text.calibration.description)
    return pruned


def write_onnx_folder(job: Job, pruned: Program) -> None:
    """Write ``onnx/``: the model, with its cache where it has one, and what loads it."""
    output, title = job.recipe.output, "Write ONNX"
    if job.is_done("onnx", title):
        return
    folder = job.staging.folder / "onnx"
    with job.stage("onnx", title) as result:
        lowered = cast(pruned, getattr(torch, output.onnx_dtype))
        result["node_counts"] = dict(write_onnx(lowered, folder, genai=output.genai))
        job.tokenizer.save_pretrained(folder)


def build_engine_folder(job: Job, pruned: Program) -> None:
    """Write ``engine/``: each engine with its manifest, where the recipe wants any."""
    section, title = job.recipe.output.engine, "Build the TensorRT engine"
    if section is None or job.is_done("engine", title):
        return
    with job.stage("engine", title) as result, job.terminal.fraction() as show:
        lowered = cast(pruned, getattr(torch, section.dtype))
        folder, profiles = job.staging.folder / "engine", job.task.profiles(section, pruned)
        options = EngineOptions(section.library, profiles, targets=tuple(section.targets))
        result["manifests"] = {
            name: {"library": manifest.library, "runs_on": manifest.runs_on}
            for name, manifest in build_engines(lowered, folder, options, show).items()
        }


def evaluate(job: Job, dense: Program, pruned: Program, text: Text) -> None:
    """Measure what was lost, and let both models answer the same questions."""
    title = "Compare with the dense model"
    if job.is_done("evaluate", title):
        return
    with job.stage("evaluate", title) as result:
        windows, described = text.held_out.tokens, text.held_out.description
        result["quality"] = job.task.compare(
            dense, pruned, windows, text=described, progress=job.terminal.progress
        )
        result["answers"] = job.task.answers(dense, pruned, job.tokenizer, job.recipe.evaluate)
