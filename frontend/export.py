"""Trace a model of transformers, or any module, with torch.export into a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from prunec.frontend.tracing import ExportError, program_from_exported, trace_module
from prunec.frontend.tracing.architecture import model_class
from prunec.frontend.tracing.model import trace_class
from prunec.passes.ir import Program, cast

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
    return trace_class(model_class(config), config, cache)


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
            "takes",
            in_python="Give it example inputs with trace_module",
        )
    return bind_weights(trace_class(type(model), model.config, cache), model, dtype)


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
