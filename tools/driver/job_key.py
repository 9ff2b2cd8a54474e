"""The key of what a job makes: finished stages of an interrupted run go on under the same one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prunec.driver.machine import versions
from prunec.driver.stages import Job, Text
from prunec.passes.contract import Pass
from prunec.passes.ir import Program
from prunec.passes.ir.digest import make_key


def job_key(job: Job, dense: Program, text: Text) -> str:
    """A digest of the recipe, the program, both texts, the tokenizer, our source and the versions.

    Args:
        job: What was asked for, and with which tokenizer.
        dense: The graph and the weights that the job begins with.
        text: What is calibrated and what is measured on.
    """
    return make_key(
        ["passes", "frontend", "backends", "driver"],
        recipe=job.recipe.model_dump(mode="json"),
        option_files=dict(_option_files(job.passes)),
        program=dense,
        origin=dense.origin,
        configuration=job.checkpoint.config.to_json_string(),
        tokenizer=tokenizer_files(job.tokenizer),
        texts=[(one.tokens, one.description) for one in (text.calibration, text.held_out)],
        packages=versions(),
    )


def _option_files(passes: Sequence[Pass]) -> Iterator[tuple[str, bytes]]:
    """The content of every file that an option names, such as a stored plan."""
    for step in passes:
        for option in fields(step):  # type: ignore[arg-type]  # each pass is a dataclass
            value = getattr(step, option.name)
            if isinstance(value, str) and Path(value).is_file():
                yield value, Path(value).read_bytes()


def tokenizer_files(tokenizer: Any) -> dict[str, bytes]:
    """The files that a tokenizer is, by name."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.is_file()}
