"""Trace a model of transformers, or any module, with torch.export into a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from prunec.frontend import tracing
from prunec.frontend.binding.agreement import require_agreement
from prunec.frontend.binding.beyond import names_ranges, require_same_beyond
from prunec.frontend.binding.plain import require_known, require_plain
from prunec.frontend.binding.twin import fake_twin, reference, tensors_of
from prunec.frontend.binding.weights import bind_weights, computed_in
from prunec.frontend.tracing import ExportError, program_from_exported
from prunec.frontend.tracing.architecture import fake_model, model_class
from prunec.frontend.tracing.feeds import TEXT
from prunec.frontend.tracing.model import trace_fake
from prunec.frontend.tracing.precision import TRACED
from prunec.passes.ir import Program

__all__ = [
    "TEXT",
    "ExportError",
    "bind_weights",
    "describe",
    "program_from_exported",
    "trace_config",
    "trace_model",
    "trace_module",
]


def trace_config(config: Any, *, cache: bool = True, part: str | None = None) -> Program:
    """Trace the model of a configuration without any weight; its weights are fake tensors.

    A language model becomes one step with its KV cache as inputs and outputs; any other model
    is run whole.

    Args:
        config: The configuration (transformers).
        cache: Whether a model that generates text keeps its cache; without one it reads every
            text from its start.
        part: ``text`` for the part that text alone reaches of a model that takes images, sound or
            boxes beside it. The program's origin tells what was left out.

    Raises:
        ExportError: transformers knows no model for it, the trace fails, it generates text and
            its cache is not found, or it takes more than text and no part was named.
    """
    kind = model_class(config)
    return trace_fake(partial(fake_model, kind, config), kind.__name__, cache=cache, part=part)


def trace_model(
    model: Any,
    dtype: torch.dtype = torch.float32,
    *,
    cache: bool = True,
    part: str | None = None,
) -> Program:
    """Trace a loaded model as it is, bind its weights, and run both on a few tokens.

    What was changed since its configuration was written (a head of its own, a bias, another
    activation) is in the program. The model is left as it is, and shares its tensors where they
    have the type already.

    Args:
        model: A model of transformers.
        dtype: What the program computes in.
        cache: As for `trace_config`.
        part: As for `trace_config`.

    Raises:
        ExportError: the trace fails, it is a module of another kind, its weights are no plain
            numbers (quantised, packed, offloaded, parametrised), it has hooks, it holds tensors
            that nothing reads, or the program computes something else than the model.
    """
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise ExportError(
            f"{type(model).__name__} is no model of transformers: nothing tells which inputs it "
            "takes",
            in_python="Give the model inside of a wrapper (model._orig_mod of torch.compile, "
            "model.module of DataParallel), merge adapters first (merge_and_unload()), and give "
            "any other module example inputs with trace_module",
        )
    described = fake_model(type(model), model.config, TRACED, None)
    require_plain(model, described)
    tensors = dict(tensors_of(described))
    make = partial(fake_twin, model, tensors)
    traced = trace_fake(make, type(model).__name__, cache=cache, part=part)
    require_known(traced, model, tensors)
    own = computed_in(model)
    wide = torch.promote_types(own, dtype)  # which shows more of a difference
    program = bind_weights(traced, model, wide)
    require_agreement(program, reference(model, program.weights, None if own == wide else wide))
    return program if wide == dtype else bind_weights(traced, model, dtype)


def trace_module(
    module: torch.nn.Module,
    inputs: Sequence[Any] | Mapping[str, Any],
    dynamic_shapes: Any = None,
) -> Program:
    """Trace any module on example inputs; the program has its weights and computes in its types.

    Args:
        module: In evaluation mode.
        inputs: Positional or keyword arguments. Numbers and None are fixed in the program.
        dynamic_shapes: Which sizes may vary, as `torch.export.export` takes it; none where not
            given.

    Raises:
        ExportError: torch.export cannot trace it, the graph is none that a program can be, or the
            module decides by a size what it computes.
    """
    program = tracing.trace_module(module, inputs, dynamic_shapes)
    if not names_ranges(dynamic_shapes):
        require_same_beyond(program, module, inputs)
    return program


def describe(config: Any, tokenizer: Any | None = None) -> Mapping[str, Any]:
    """The facts about a model that its graph does not carry and its packages need.

    Args:
        config: The configuration (transformers).
        tokenizer: Where the configuration does not name a token, the tokenizer's counts.

    Returns:
        JSON values; None where neither tells.
    """
    text = config.get_text_config()
    tokens = ("bos_token_id", "eos_token_id", "pad_token_id")
    facts = {name: getattr(text, name, None) for name in (*tokens, *_LENGTHS)}
    if tokenizer is None:
        return facts
    return facts | {name: getattr(tokenizer, name) for name in tokens if facts[name] is None}


_LENGTHS = ("max_position_embeddings", "vocab_size")
