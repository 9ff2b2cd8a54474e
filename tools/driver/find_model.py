"""Find a model and what it is for, before any of it is loaded."""

from __future__ import annotations

from contextlib import suppress

from prunec.driver.tasks import Task, task_of_config
from prunec.frontend.sources import Checkpoint, SourceError, find_checkpoint, find_config


def find_model(
    reference: str, *, needs_tokenizer: bool, part: str | None = None
) -> tuple[Checkpoint, Task]:
    """A checkpoint, and the task of its model.

    Args:
        reference: As for `find_checkpoint`.
        needs_tokenizer: Likewise.
        part: The part of the model that the user named.

    Raises:
        TaskError: the model reads more than text; said before what its folder lacks for that.
        SourceError: see `find_checkpoint`.
    """
    with suppress(SourceError):  # which the look at the whole folder says, with all else
        task_of_config(find_config(reference), part)
    checkpoint = find_checkpoint(reference, needs_tokenizer=needs_tokenizer)
    return checkpoint, task_of_config(checkpoint.config, part)
