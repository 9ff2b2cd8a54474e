"""Find out before the expensive work whether a job can succeed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from prunec.backends.tensorrt import EngineOptions, require_buildable
from prunec.driver.formats import format_bytes
from prunec.driver.recipe import EngineSection, Recipe
from prunec.driver.tasks import Task
from prunec.frontend.calibration import calibration_tokens
from prunec.frontend.calibration.spec import SELF
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import Score, Scores
from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Program
from prunec.passes.pipelines import CLEAN
from prunec.passes.plan import Allocate
from prunec.passes.surgery import SelectExperts
from prunec.passes.surgery.select_experts.counts import KIND

REPORT = "report.json"
"""The file by which a folder is known to be a result of prunec."""

_SPARE_BYTES = 64 * 1024**2


class PreflightError(Exception):
    """A job cannot succeed as it is; nothing expensive was done yet."""


def require_output(folder: Path) -> None:
    """Check that the output folder can be written and holds nothing of the user's own.

    Raises:
        PreflightError: it is a file, or a folder with other things in it.
        OSError: it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise PreflightError(f"output.folder {folder} is a file: name another folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / REPORT).is_file():
        raise PreflightError(
            f"output.folder {folder} holds files that are no result of prunec and would be "
            "replaced: name another folder, or empty this one"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(folder.parent, os.W_OK):
        raise PermissionError(13, "permission denied", str(folder.parent))
    with tempfile.TemporaryFile(dir=folder.parent):
        pass


def require_text(recipe: Recipe, task: Task, tokenizer: Any) -> None:
    """Read the texts that the recipe names, so that a missing or short one is known at once.

    Raises:
        CalibrationError: a text is missing, malformed or too short.
        TaskError: the model cannot be measured on it.
    """
    for spec in task.text_specs(recipe):
        if spec.source != SELF:
            calibration_tokens(spec, tokenizer)


def require_engine(section: EngineSection | None) -> EngineOptions | None:
    """The options of the engine that a recipe wants, whatever its sizes; None where it wants none.

    Raises:
        EngineError: the library is not installed, or does not know a target.
    """
    if section is None:
        return None
    options = EngineOptions(section.library, targets=tuple(section.targets))
    require_buildable(options)
    return options


def require_budget(program: Program, passes: Sequence[Pass]) -> None:
    """Let every allocation before the first cut decide on made-up scores, and a prompt's choice.

    Raises:
        PassError: its budget cannot be met by this model, it has no such structures, nothing
            before it can have scored them, there are none to score, or scores on pruned inputs
            or a choice by plan find no plan that fits.
    """
    context = Context()
    structures = context.analyse(find_structures, program).structures
    zeros = {s.name: torch.zeros(s.size, dtype=torch.float64) for s in structures}
    for step in passes:
        if isinstance(step, Allocate):
            step.apply(program, context)
        elif isinstance(step, Score):
            known = {} if context.scores is None else context.scores.by_structure
            found = {s.name: zeros[s.name] for s in step.subjects(program, context)[0]}
            context.scores = Scores("rehearsal", {**known, **found}, zeros)
        elif isinstance(step, SelectExperts):
            step.counts(program, context)
            return
        elif not step.is_exact:
            return
        elif step not in CLEAN:  # an exact pass that cleans nothing up may have left scores
            context.scores = Scores("rehearsal", zeros, zeros)


def require_space(program: Program, recipe: Recipe) -> None:
    """Compare the free space with what the results can take at most: the uncut model's sizes.

    Raises:
        PreflightError: it is not enough.
    """
    wanted = estimate_bytes(program, recipe)
    place = recipe.output.folder.absolute().parent
    free = shutil.disk_usage(place).free
    if free < wanted:
        raise PreflightError(
            f"{place} has {format_bytes(free)} free and the results take up to "
            f"{format_bytes(wanted)}: free some space, or choose another output.folder"
        )


def estimate_bytes(program: Program, recipe: Recipe) -> int:
    """The most that the results can take, with what is needed in passing."""
    parameters = measure(program).parameters
    copies = [recipe.model.dtype, recipe.output.onnx_dtype]
    if recipe.output.engine is not None:
        copies += [recipe.output.engine.dtype] * 2  # its ONNX file, and the engine itself
    widths = [getattr(torch, dtype).itemsize for dtype in copies]
    moments = _moment_numbers(program, recipe.passes()) * torch.float32.itemsize * len(copies)
    return parameters * sum(widths) + moments + _SPARE_BYTES


def _moment_numbers(program: Program, passes: Sequence[Pass]) -> int:
    """The most numbers that repair at the end of a prompt needs of the calibration text."""
    if not any(isinstance(step, SelectExperts) and step.refit != "none" for step in passes):
        return 0
    structures = find_structures(program).of_kind(KIND)
    return sum(s.size * (s.size + s.parameters_per_unit) for s in structures)
