"""The task of a model, by its configuration, its program, or a report."""

from __future__ import annotations

from typing import Any

from prunec.driver.tasks.generation import Generation
from prunec.driver.tasks.task import Task, TaskError
from prunec.driver.tasks.whole_text import WholeText
from prunec.frontend.export import TEXT
from prunec.frontend.kinds import ModelKind, model_kind
from prunec.passes.ir import Program

_TASKS: dict[str, Task] = {task.name: task for task in (Generation(), WholeText())}


def task_of_config(config: Any, part: str | None = None) -> Task:
    """The task of a configuration (transformers); nothing is traced or loaded.

    Args:
        config: The configuration.
        part: The part of the model that the user named, `TEXT`, or None.

    Raises:
        TaskError: the model reads more than one text; says what it is and what works instead.
        ExportError: transformers knows no model for it.
    """
    kind = model_kind(config)
    has_text_part = "text" in kind.reads and not kind.has_decoder
    if not has_text_part or (kind.reads != ("text",) and part != TEXT):
        raise TaskError(f"{kind.name} {_what(kind)}. {_INSTEAD}{_PART * has_text_part}")
    return _TASKS[Generation.name if kind.writes else WholeText.name]


def task_of_program(program: Program) -> Task:
    """The task of a program."""
    return _TASKS[Generation.name if program.predicts_next else WholeText.name]


def task_named(name: str) -> Task:
    """The task that a report names."""
    return _TASKS[name]


_INSTEAD = (
    "What prunec measures and runs by itself are models of text alone, decoders and encoders. "
    "`prunec explain` shows what can be cut from this one, and from Python trace_model, "
    "run_pipeline and export_onnx cut it and write it; score it by criterion=magnitude, which "
    "needs no text"
)
_PART = (
    f'. To prune only what text reaches of it, say so: part = "{TEXT}" under [model] of the recipe'
)


def _what(kind: ModelKind) -> str:
    read = " and ".join(kind.reads) or "no text"
    if kind.has_decoder:
        return f"reads {read} with an encoder and writes with a decoder of its own"
    return f"reads {read}"
