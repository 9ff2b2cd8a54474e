"""One whole job: from a recipe to a folder with everything that was asked for."""

from __future__ import annotations

from prunec.driver.find_model import find_model
from prunec.driver.job_key import job_key
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
from prunec.driver.staging import Staging
from prunec.driver.terminal import Terminal


def run_job(recipe: Recipe, terminal: Terminal) -> Report:
    """Do what a recipe says; the output folder appears complete or stays as it was.

    An interrupt keeps finished stages aside, and the same job goes on from there.

    Returns:
        What stands in ``report.json``.

    Raises:
        PreflightError, TaskError, EngineError, SourceError, PassError: it cannot succeed; found
            out before anything expensive where that is possible.
    """
    passes = recipe.passes()
    require_output(recipe.output.folder)
    require_engine(recipe.output.engine)
    with terminal.stage("Find the checkpoint"):
        checkpoint, task = find_model(
            recipe.model.source, needs_tokenizer=True, part=recipe.model.part
        )
        tokenizer = checkpoint.load_tokenizer()
    for note in checkpoint.notes:
        terminal.say(f"  {note}")
    require_text(recipe, task, tokenizer)
    task.require_windows(recipe, checkpoint.config, tokenizer)
    staging = Staging(recipe.output.folder)
    job = Job(recipe, passes, terminal, staging, checkpoint, task, tokenizer)
    try:
        traced = trace(job)
        require_budget(traced, passes)
        require_space(traced, recipe)
        dense = load_dense(job)
        text = find_text(job, dense)
        staging.take_over(job_key(job, dense, text), terminal.say)
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
