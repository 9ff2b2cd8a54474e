"""Checks of a result against the checkpoint that it was made from, where that is still there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from prunec.driver.preflight import REPORT
from prunec.driver.tasks.task import Check
from prunec.driver.tolerances import ViolationError
from prunec.frontend.checkpoints.packaged import PACKAGED
from prunec.frontend.export import describe, trace_model
from prunec.frontend.sources import SourceError, find_checkpoint
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.importance import Score
from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Program, Role, model_dtype
from prunec.passes.manager import run_pipeline
from prunec.passes.plan import Allocate
from prunec.passes.spec import parse_pipeline
from prunec.passes.surgery import RemoveStructures, SelectExperts

_PLAN = "plan.json"


class _UnreachableError(Exception):
    """There is nothing to compare with; says why."""


def origin_checks(program: Program, folder: Path) -> Iterator[Check]:
    """What can be held against the checkpoint of a result.

    Args:
        program: The result's.
        folder: The result's, with its report and plan, or that of a program alone.
    """
    origin = _Origin(program, folder)
    yield "the uncut program computes what its checkpoint computes", origin.compare
    if (folder / REPORT).is_file():
        yield "the result comes from its checkpoint by its plan", origin.replay


@dataclass(frozen=True)
class _Origin:
    """The uncut program of a result, made anew."""

    program: Program
    folder: Path

    def compare(self) -> str:
        """Trace and run the checkpoint's model, and compare its sizes with the report's."""
        try:
            dense = self.dense
        except _UnreachableError as error:
            return f"NOT COMPARED: {error}"
        there = measure(dense).to_json()
        promised = self.report.get("sizes", {}).get("before", there)
        if promised != there:
            raise ViolationError(
                f"the report says of the uncut model {promised}, its checkpoint has {there}"
            )
        return f"{dense.origin['class']}, {there['parameters']} parameters, run on a few tokens"

    def replay(self) -> str:
        """Cut the checkpoint's model by the plan, and compare weights with the result's."""
        try:
            steps = self._steps()
            again = run_pipeline(self.dense, steps, Context())
        except _UnreachableError as error:
            return f"NOT REPLAYED: {error}"
        found, wanted = dict(self.program.weights), dict(again.weights)
        shapes = [{n: tuple(w.shape) for n, w in weights.items()} for weights in (found, wanted)]
        if shapes[0] != shapes[1]:
            names = sorted(n for n in found.keys() | wanted if shapes[0].get(n) != shapes[1].get(n))
            raise ViolationError(f"{len(names)} weights have other sizes, for example {names[:3]}")
        others = [n for n, weight in found.items() if not torch.equal(weight, wanted[n])]
        repairs = [step.name for step in self.passes if not _replays(step) and not _decides(step)]
        if others and not repairs:
            raise ViolationError(f"{len(others)} weights are others, for example {others[:3]}")
        said = f"{len(found) - len(others)} of {len(found)} weights are the checkpoint's, cut"
        return f"{said}; {', '.join(repairs)} changed the others" if others else said

    def _steps(self) -> list[Pass]:
        """The passes up to the last cut by the stored plan, without those that decided on it."""
        steps = self.passes
        cuts = [place for place, step in enumerate(steps) if isinstance(step, RemoveStructures)]
        if len(cuts) > 1:
            raise _UnreachableError("several plans were carried out, and the last is stored")
        if cuts and not (self.folder / _PLAN).is_file():
            raise _UnreachableError(f"there is no {_PLAN}")
        before = steps[: cuts[0] + 1] if cuts else steps
        hindering = [s.name for s in before if not _replays(s) and not _decides(s)]
        hindering += [s.name for s in steps[len(before) :] if isinstance(s, SelectExperts)]
        if hindering:
            raise _UnreachableError(f"{', '.join(hindering)} is no cut by a stored plan")
        plan = str(self.folder / _PLAN)
        return [
            replace(step, plan=plan) if isinstance(step, RemoveStructures) else step
            for step in before
            if not _decides(step)
        ]

    @cached_property
    def report(self) -> Mapping[str, Any]:
        """What stands in the result's report; nothing where there is none."""
        file = self.folder / REPORT
        found: Mapping[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
        return found

    @cached_property
    def passes(self) -> tuple[Pass, ...]:
        """The result's pipeline."""
        return parse_pipeline(self.report["pipeline"])

    @cached_property
    def dense(self) -> Program:
        """The checkpoint's model, traced as it is loaded; it is run against the model on the way.

        Raises:
            _UnreachableError: the checkpoint is not on this machine.
            ExportError: the program computes something else than the model.
        """
        origin = self.program.origin
        reference = origin.get("model")
        if reference is None:
            raise _UnreachableError("the program does not say which checkpoint it was made from")
        _require_local(reference)
        section = self.report.get("recipe", {}).get("model", {})
        has_cache = any(entry.ports(Role.CACHE)[0] for entry in self.program.entries.values())
        try:
            checkpoint = find_checkpoint(reference)
            model = checkpoint.load_model()
        except SourceError as error:
            raise _UnreachableError(str(error)) from error
        dtype = getattr(torch, section["dtype"]) if section else model_dtype(self.program)
        cache = section.get("cache", has_cache or not self.program.predicts_next)
        dense = trace_model(model, dtype, cache=cache, part=origin.get("part"))
        facts = describe(checkpoint.config)
        return replace(dense, origin={**dense.origin, **facts, "model": reference})


def _decides(step: Pass) -> bool:
    """Whether a pass only leads to the plan."""
    return isinstance(step, (Score, Allocate))


def _replays(step: Pass) -> bool:
    """Whether a pass needs nothing but the program and a stored plan."""
    return isinstance(step, RemoveStructures) or (step.is_exact and not _decides(step))


def _require_local(reference: str) -> None:
    """Check that a model reference needs no download.

    Raises:
        _UnreachableError: it does, or what it names is not there any more.
    """
    path = Path(reference).expanduser()
    if path.exists() or reference.removeprefix("pip:") in PACKAGED:
        return
    if reference.count("/") == 1 and not reference.startswith((".", "/", "~")):
        from huggingface_hub import try_to_load_from_cache

        if isinstance(try_to_load_from_cache(reference, "config.json"), str):
            return
    raise _UnreachableError(f"{reference} is not on this machine (any more)")
