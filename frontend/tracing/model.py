"""Trace a model with fake weights: its inputs, and the ways that are tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.export import ExportedProgram

from prunec.frontend.tracing.cache import find_cache
from prunec.frontend.tracing.errors import ExportError, cannot_trace
from prunec.frontend.tracing.exported import program_from_exported
from prunec.frontend.tracing.feeds import dynamic_sizes, example, step_ports, whole_ports
from prunec.frontend.tracing.lines import model_lines
from prunec.frontend.tracing.parts import require_part, require_whole, what_is_missing
from prunec.frontend.tracing.precision import follow_model_dtype
from prunec.frontend.tracing.quiet import quietly
from prunec.frontend.tracing.remembering import remembering
from prunec.frontend.tracing.size_limits import size_limits
from prunec.frontend.tracing.steps import CachedStep, WholeRun
from prunec.frontend.tracing.trace import export
from prunec.frontend.tracing.ways import WAYS, Way, first_that_works, traced_as
from prunec.passes.ir import Port, Program, propagate

_PREFIX = "model."
"""What the step that is traced puts before the names of the model's weights."""

Make = Callable[[torch.dtype, str | None], Any]
"""Makes a model with fake weights, from what it computes in and its attention implementation."""


def trace_fake(make: Make, what: str, *, cache: bool, part: str | None) -> Program:
    """The program of a model with fake weights, in the first way that works.

    Args:
        make: Makes the model.
        what: Its name, for people.
        cache: Whether a model that generates text keeps its cache.
        part: `TEXT` where a model that takes more than text is to be given nothing else.

    Raises:
        ExportError: no way works; it says why the first did not, and has the others' reasons. Or
            the model takes more than text and no part was named.
    """
    require_part(part)
    program = first_that_works(WAYS, lambda way: _trace(way, make, what, cache, part))
    if part is None:
        require_whole(program, what)
    program = _without_prefix(program, _PREFIX)
    follow_model_dtype(program.main, program.buffers)
    propagate(program.main, program.weights)
    return program


def _trace(way: Way, make: Make, what: str, cache: bool, part: str | None) -> Program:
    try:
        with quietly():
            model = make(way.dtype, way.attention)
    except ExportError:
        raise
    except Exception as error:  # whatever the model's own code raises
        raise cannot_trace(what, error) from error
    with traced_as(model, way.tables):
        exported, ports = _export(model, cache, part)
    program = program_from_exported(exported, ports)
    is_decoder = not getattr(model.config, "is_encoder_decoder", False)
    origin = {
        "model_type": model.config.model_type,
        "architecture": type(model.config).__name__,
        "class": what,
        "predicts_next": is_decoder and model.can_generate(),
    }
    read = {name.removeprefix(_PREFIX) for name in program.weights}
    missing = what_is_missing(model, {port.name for port in ports}, read)
    limits = size_limits(exported, ports)
    found = ({"part": part} if part else {}) | ({"size_limits": limits} if limits else {})
    return replace(program, origin={**origin, **found, **missing})


def _export(model: Any, cache: bool, part: str | None) -> tuple[ExportedProgram, list[Port]]:
    """The exported graph, and the inputs that it was traced for."""
    what = type(model).__name__
    try:
        with quietly():
            found = find_cache(model) if cache else None
            ports = whole_ports(model, part) if found is None else step_ports(model, found.shapes)
    except ExportError:
        raise
    except Exception as error:  # whatever the model's own code raises
        raise cannot_trace(what, error) from error
    step = WholeRun(model) if found is None else CachedStep(model, found)
    feeds = {port.name: example(port) for port in ports}
    shapes = {port.name: dynamic_sizes(port) for port in ports}
    with remembering(ports, feeds), model_lines():
        return export(step, (feeds,), {}, (shapes,), what=what), ports


def _without_prefix(program: Program, prefix: str) -> Program:
    """The program with the weights' own names instead of those inside of a step."""
    entry = program.main
    reads = {node: name.removeprefix(prefix) for node, name in entry.reads.items()}
    return replace(
        program,
        entries={"main": replace(entry, reads=reads)},
        weights={name.removeprefix(prefix): w for name, w in program.weights.items()},
        buffers=frozenset(name.removeprefix(prefix) for name in program.buffers),
    )
