"""One whole job: from a recipe to a folder with everything that was asked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from prunec.driver.machine import source_digest, versions
from prunec.driver.preflight import (
    require_budget,
    require_engine,
    require_output,
    require_space,
    require_text,
)
from prunec.driver.recipe import Recipe
from prunec.driver.report import Report, write_report
from prunec.driver.stages import (
    Job,
    build_engine_folder,
    evaluate,
    find_text,
    load_dense,
    prune,
    trace,
    write_onnx_folder,
)
from prunec.driver.staging import open_staging
from prunec.driver.terminal import Terminal
from prunec.frontend.sources import Checkpoint, find_checkpoint


def run_job(recipe: Recipe, terminal: Terminal) -> Report:
    """Do what a recipe says; the output folder appears complete or stays as it was.

    An interrupt keeps finished stages aside, and the same job goes on from there.

    Returns:
        What stands in ``report.json``.

    Raises:
        PreflightError, EngineError, SourceError, PassError: it cannot succeed; found out before
            anything expensive where that is possible.
    """
    passes = recipe.passes()
    require_output(recipe.output.folder)
    require_engine(recipe.output.engine)
    with terminal.stage("Find the checkpoint"):
        checkpoint = find_checkpoint(recipe.model.source)
        tokenizer = checkpoint.load_tokenizer()
    require_text(recipe, tokenizer)
    staging = open_staging(recipe.output.folder, job_key(recipe, checkpoint))
    job = Job(recipe, passes, terminal, staging, checkpoint, tokenizer)
    try:
        traced = trace(job)
        require_budget(traced, passes)
        require_space(traced, recipe)
        dense = load_dense(job, traced)
        text = find_text(job, dense)
        pruned = prune(job, dense, text)
        write_onnx_folder(job, pruned)
        build_engine_folder(job, pruned)
        evaluate(job, dense, pruned, text)
        report = write_report(job, dense, pruned)
        staging.publish()
    except BaseException as error:  # an interrupt too leaves what was done to the next run
        error.add_note(staging.leave())
        raise
    return report


def job_key(recipe: Recipe, checkpoint: Checkpoint) -> str:
    """A digest of the recipe, the checkpoint's files, our own source and the versions."""
    document = recipe.model_dump(mode="json")
    named = [recipe.calibration.source, str(recipe.evaluate.text or "")]
    facts: list[Any] = [document, source_digest(), versions()]
    facts += [_stamp(Path(name)) for name in named if Path(name).is_file()]
    facts.append(_checkpoint_stamp(checkpoint))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _checkpoint_stamp(checkpoint: Checkpoint) -> Any:
    folder = Path(checkpoint.location)
    if not folder.is_dir():
        return [checkpoint.location, getattr(checkpoint.config, "_commit_hash", None)]
    names = checkpoint.gguf_file or "*"
    return [_stamp(file) for file in sorted(folder.glob(names)) if file.is_file()]


def _stamp(file: Path) -> list[Any]:
    status = file.stat()
    return [str(file.absolute()), status.st_size, status.st_mtime_ns]
