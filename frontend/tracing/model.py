"""Trace the model of a configuration: fake weights, its inputs, and the ways that are tried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch.export import ExportedProgram

from prunec.frontend.tracing.architecture import fake_model
from prunec.frontend.tracing.cache import find_cache
from prunec.frontend.tracing.errors import ExportError, cannot_trace
from prunec.frontend.tracing.exported import program_from_exported
from prunec.frontend.tracing.feeds import dynamic_sizes, example, step_ports, whole_ports
from prunec.frontend.tracing.lines import model_lines
from prunec.frontend.tracing.precision import follow_model_dtype
from prunec.frontend.tracing.quiet import quietly
from prunec.frontend.tracing.remembering import remembering
from prunec.frontend.tracing.steps import CachedStep, WholeRun
from prunec.frontend.tracing.trace import export
from prunec.frontend.tracing.ways import WAYS, Way, first_that_works, traced_as
from prunec.passes.ir import Port, Program, propagate


def trace_class(kind: type[Any], config: Any, cache: bool) -> Program:
    """The program of a model with fake weights, in the first way that works.

    Args:
        kind: A class of transformers.
        config: Its configuration; not changed.
        cache: Whether a model that generates text keeps its cache.

    Raises:
        ExportError: no way works; it says why the first did not, and has the others' reasons.
    """
    program = first_that_works(WAYS, lambda way: _trace(way, kind, config, cache))
    program = _without_prefix(program, "model.")
    follow_model_dtype(program.main, program.buffers)
    propagate(program.main, program.weights)
    origin = {"model_type": config.model_type, "architecture": type(config).__name__}
    is_decoder = not getattr(config, "is_encoder_decoder", False)
    origin |= {"class": kind.__name__, "predicts_next": is_decoder and kind.can_generate()}
    return replace(program, origin=origin)


def _trace(way: Way, kind: type[Any], config: Any, cache: bool) -> Program:
    try:
        with quietly():
            model = fake_model(kind, config, way.dtype, way.attention)
    except Exception as error:  # whatever the model's own code raises
        raise cannot_trace(kind.__name__, error) from error
    with traced_as(model, way.tables):
        exported, ports = _export(model, cache)
    return program_from_exported(exported, ports)


def _export(model: Any, cache: bool) -> tuple[ExportedProgram, list[Port]]:
    """The exported graph, and the inputs that it was traced for."""
    what = type(model).__name__
    try:
        with quietly():
            found = find_cache(model) if cache else None
            ports = whole_ports(model) if found is None else step_ports(model, found.shapes)
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
