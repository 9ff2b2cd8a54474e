"""Trace a model of transformers, or any module, with torch.export into a program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.export import ExportedProgram

from prunec.frontend.tracing import ExportError, program_from_exported, trace_module
from prunec.frontend.tracing.architecture import fake_model, model_class
from prunec.frontend.tracing.cache import find_cache
from prunec.frontend.tracing.errors import cannot_trace
from prunec.frontend.tracing.feeds import dynamic_sizes, example, step_ports, whole_ports
from prunec.frontend.tracing.lines import model_lines
from prunec.frontend.tracing.precision import TRACED, follow_model_dtype
from prunec.frontend.tracing.quiet import quietly
from prunec.frontend.tracing.remembering import remembering
from prunec.frontend.tracing.steps import CachedStep, WholeRun
from prunec.frontend.tracing.trace import export
from prunec.passes.ir import Port, Program, cast, propagate

__all__ = [
    "ExportError",
    "bind_weights",
    "describe",
    "program_from_exported",
    "trace_config",
    "trace_model",
    "trace_module",
]


def trace_config(config: Any, *, cache: bool = True) -> Program:
    """Trace the model of a configuration without any weight; its weights are fake tensors.

    A language model becomes one step with its KV cache as inputs and outputs; any other model
    is run whole.

    Args:
        config: The configuration (transformers).
        cache: Whether a model that generates text keeps its cache; without one it reads every
            text from its start.

    Raises:
        ExportError: transformers knows no model for it, the trace fails, or it generates text
            and its cache is not found.
    """
    return _trace(model_class(config), config, cache)


def trace_model(model: Any, dtype: torch.dtype = torch.float32, *, cache: bool = True) -> Program:
    """Trace a loaded model and bind its weights.

    Args:
        model: A model of transformers.
        dtype: What the program computes in.
        cache: As for `trace_config`.

    Raises:
        ExportError: the trace fails, or it is a module of another kind.
    """
    if not hasattr(type(model), "_from_config"):
        raise ExportError(
            f"{type(model).__name__} is no model of transformers: nothing tells which inputs it "
            "takes. Give it example inputs with trace_module"
        )
    return bind_weights(_trace(type(model), model.config, cache), model, dtype)


def bind_weights(program: Program, model: torch.nn.Module, dtype: torch.dtype) -> Program:
    """The same program with the model's tensors, computing in `dtype`."""
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    absent = sorted(program.parameters().keys() - tensors.keys())
    if absent:
        raise ExportError(
            f"{type(model).__name__} lacks weights of the program, for example {absent[:3]}. Load "
            f"the checkpoint with the class that was traced: {program.origin.get('class')}"
        )
    fake = cast(program, dtype)
    weights = {
        name: tensors[name].detach().to(weight.dtype) if name in tensors else program.weights[name]
        for name, weight in fake.weights.items()
    }
    return fake.with_weights(weights)


def describe(config: Any) -> Mapping[str, Any]:
    """The facts about a model that its graph does not carry and its packages need."""
    text = config.get_text_config()
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "max_position_embeddings")
    return {name: getattr(text, name, None) for name in (*names, "vocab_size")}


_ATTEMPTS: tuple[tuple[torch.dtype, str | None], ...] = (
    (TRACED, None),
    # Some models have code for attention that traces only where it is spelled out,
    (TRACED, "eager"),
    # and some compute in float32 alone; what their casts are for cannot be told.
    (torch.float32, "eager"),
)


def _trace(kind: type[Any], config: Any, cache: bool) -> Program:
    exported, ports = _export_as_it_goes(kind, config, cache)
    program = _without_prefix(program_from_exported(exported, ports), "model.")
    follow_model_dtype(program.main, program.buffers)
    propagate(program.main, program.weights)
    origin = {"model_type": config.model_type, "architecture": type(config).__name__}
    return replace(program, origin=origin | {"class": kind.__name__})


def _export_as_it_goes(
    kind: type[Any], config: Any, cache: bool
) -> tuple[ExportedProgram, list[Port]]:
    """Export in the first way that works; if none does, raise what the first one raised."""
    first: ExportError | None = None
    for dtype, attention in _ATTEMPTS:
        try:
            return _export(kind, config, cache, dtype, attention)
        except ExportError as error:
            first = first or error
    assert first is not None
    raise first


def _export(
    kind: type[Any], config: Any, cache: bool, dtype: torch.dtype, attention: str | None
) -> tuple[ExportedProgram, list[Port]]:
    """Trace a model with fake weights; return the inputs that it was traced for as well."""
    try:
        with quietly():
            model = fake_model(kind, config, dtype, attention)
            found = find_cache(model) if cache else None
            ports = whole_ports(model) if found is None else step_ports(model, found.shapes)
    except ExportError:
        raise
    except Exception as error:  # whatever the model's own code raises
        raise cannot_trace(kind.__name__, error) from error
    step = WholeRun(model) if found is None else CachedStep(model, found)
    feeds = {port.name: example(port) for port in ports}
    shapes = {port.name: dynamic_sizes(port) for port in ports}
    with remembering(ports, feeds), model_lines():
        return export(step, (feeds,), {}, (shapes,), what=kind.__name__), ports


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
