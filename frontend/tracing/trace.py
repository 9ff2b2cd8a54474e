"""Run torch.export on a module."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch._dynamo.config
from torch.export import ExportedProgram

from prunec.frontend.tracing.errors import cannot_trace
from prunec.frontend.tracing.exported import program_from_exported
from prunec.frontend.tracing.quiet import quietly
from prunec.frontend.tracing.size_limits import size_limits
from prunec.frontend.tracing.ways import Tables, first_that_works, traced_as
from prunec.passes.ir import Program


def trace_module(
    module: torch.nn.Module,
    inputs: Sequence[Any] | Mapping[str, Any],
    dynamic_shapes: Any = None,
) -> Program:
    """See `prunec.frontend.export.trace_module`; its origin tells how large sizes may be."""
    is_named = isinstance(inputs, Mapping)
    args, kwargs = ((), dict(inputs)) if is_named else (tuple(inputs), {})

    def trace(tables: Tables) -> Program:
        with traced_as(module, tables):
            exported = export(module, args, kwargs, dynamic_shapes, what=type(module).__name__)
        program = program_from_exported(exported)
        limits = size_limits(exported, program.main.inputs)
        return replace(program, origin={"size_limits": limits}) if limits else program

    return first_that_works(Tables, trace)


def export(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic_shapes: Any,
    *,
    what: str,
) -> ExportedProgram:
    """Trace a module with torch.export, quietly.

    Raises:
        ExportError: says what the tracer met and where in the model.
    """
    try:
        with (
            torch.no_grad(),
            quietly(),
            # With dynamic sizes, the cache's bookkeeping costs more than the calls it saves.
            torch._dynamo.config.patch(fake_tensor_cache_enabled=False),
            _without_garbage_collection(),
        ):
            return torch.export.export(
                module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False
            )
    except Exception as error:  # the tracer raises whatever the model's code raises
        raise cannot_trace(what, error) from error


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A trace makes millions of small objects and keeps them: looking for garbage finds none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
