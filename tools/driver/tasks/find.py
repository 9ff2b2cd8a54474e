"""The task of a model, by its configuration, its program, or a report."""

from __future__ import annotations

from typing import Any

from prunec.driver.tasks.generation import Generation
from prunec.driver.tasks.task import Task, TaskError
from prunec.driver.tasks.whole_text import WholeText
from prunec.frontend.kinds import ModelKind, model_kind
from prunec.passes.ir import Program

_TASKS: dict[str, Task] = {task.name: task for task in (Generation(), WholeText())}


def task_of_config(config: Any) -> Task:
    """The task of a configuration (transformers); nothing is traced or loaded.

    Raises:
        TaskError: the model reads more than one text; says what it is and what works instead.
        ExportError: transformers knows no model for it.
    """
    kind = model_kind(config)
    if kind.reads != ("text",) or kind.has_decoder:
        raise TaskError(f"{kind.name} {_what(kind)}. {_INSTEAD}")
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


def _what(kind: ModelKind) -> str:
    read = " and ".join(kind.reads) or "no text"
    if kind.has_decoder:
        return f"reads {read} with an encoder and writes with a decoder of its own"
    return f"reads {read}"
