"""Which parts of a model its program leaves out, because its inputs never reach them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Set
from typing import Any

import torch

from prunec.frontend.tracing.cache import takes_cache
from prunec.frontend.tracing.errors import ExportError
from prunec.frontend.tracing.feeds import TEXT, TEXT_INPUTS, parameters
from prunec.passes.ir import Program

_BESIDE_TEXT = {
    "inputs_embeds",
    "input_mask",
    "global_attention_mask",
    "head_mask",
    "cache_position",
    "langs",
    "lengths",
    "mems",
    "perm_mask",
    "target_mapping",
    "state",
    "start_positions",
    "end_positions",
    "cache",
    "past_key_values",
}
"""What text models take that says nothing but how to read the text."""
_PREFIXES = ("decoder_", "encoder_", "output_", "return_", "use_", "logits_", "past_")


def what_is_missing(model: Any, fed: Set[str], read: Set[str]) -> dict[str, list[str]]:
    """What a model has and its program has not.

    Args:
        model: That was traced.
        fed: The names of the inputs that it was given.
        read: Names of the tensors that the program reads; of tied ones, any of their names.

    Returns:
        ``left_out``: the outermost modules that hold parameters of which none is read, and single
        parameters; ``inputs_left_out``: what a model of text takes beside text. Either only where
        there is any.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    unread = list(_unread(model, {id(named[name]) for name in read if name in named}, ""))
    found = {"left_out": unread, "inputs_left_out": _unfed(model, fed, bool(unread))}
    return {name: value for name, value in found.items() if value}


def require_part(part: str | None) -> None:
    """Check the name of a part.

    Raises:
        ExportError: no model has a part of this name.
    """
    if part not in (None, TEXT):
        raise ExportError(f"no part of a model is called {part!r}; there is {TEXT!r}")


def require_whole(program: Program, what: str) -> None:
    """Check that a program, whose part nobody named, is the whole model.

    Args:
        program: Whose origin says what is missing.
        what: The model's name, for people.

    Raises:
        ExportError: it is the text half of a model that takes more.
    """
    inputs = program.origin.get("inputs_left_out")
    if inputs:
        unread = program.origin.get("left_out")
        parts = f", and its parts {', '.join(unread)} would be left out" if unread else ""
        raise ExportError(
            f"{what} takes more than text: {', '.join(inputs)}. Its text alone is another model"
            f'{parts}. To prune only what text reaches, say so: part = "{TEXT}" under [model] of '
            f"the recipe, --part {TEXT} for explain",
            in_python=f'Or trace_model(model, part="{TEXT}")',
        )


def _unfed(model: Any, fed: Set[str], has_unread: bool) -> list[str]:
    """What a model of text takes beside text and is not given; nothing for other models."""
    if not {name for name in fed if "." not in name} <= TEXT_INPUTS:
        return []
    taken = [(name, p) for name, p in parameters(model).items() if name not in fed]
    if any(_is_more(p) for _, p in taken):
        # Beside other inputs, kinds of tokens say which of them those stand for.
        return [name for name, p in taken if _is_more(p) or name == "token_type_ids"]
    # Inputs that come under no name. Text models too declare what their larger models take.
    kinds = getattr(model, "input_modalities", ()) if has_unread else ()
    return [kind for kind in kinds if isinstance(kinds, tuple) and kind != TEXT]


def _is_more(parameter: inspect.Parameter) -> bool:
    """Whether a parameter takes a tensor that is neither text nor how to read it."""
    name, annotation = parameter.name, str(parameter.annotation)
    is_tensor = parameter.annotation is parameter.empty or "Tensor" in annotation
    is_known = name in TEXT_INPUTS | _BESIDE_TEXT or name.startswith(_PREFIXES)
    is_target = "label" in name
    return is_tensor and not (is_known or is_target or takes_cache(parameter.annotation))


def _unread(module: torch.nn.Module, read: Set[int], prefix: str) -> Iterator[str]:
    for name, parameter in module.named_parameters(recurse=False):
        if id(parameter) not in read:
            yield prefix + name
    for name, child in module.named_children():
        own = {id(p) for p in child.parameters()}
        if own and not own & read:
            yield prefix + name
        else:
            yield from _unread(child, read, f"{prefix}{name}.")
