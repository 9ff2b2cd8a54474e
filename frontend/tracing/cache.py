"""Find where a decoder takes and returns the keys and values of earlier tokens.

The cache is known by its type: the parameter that takes a `transformers.Cache`, and the field of
the output that holds one. Their names change between versions of transformers
(``past_key_values`` until 5.23, ``cache`` from 5.24 on).
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from prunec.frontend.tracing.errors import ExportError, cannot_trace
from prunec.frontend.tracing.feeds import parameters

_NAMES = ("cache", "past_key_values")
"""Names of a cache whose annotation says otherwise, for example that it is a tuple of tensors."""

_PARTS = ("keys", "values")
"""The attributes of a layer of a cache."""

_WITHOUT = "To trace it without a cache, for scoring and encoding only, set cache = false"


@dataclass(frozen=True)
class KeyValueCache:
    """The cache of a decoder.

    Attributes:
        parameter: The name under which the model's forward takes it.
        shapes: Heads and width of each key and value, in layer order.
    """

    parameter: str
    shapes: tuple[tuple[int, int], ...]


def find_cache(model: Any) -> KeyValueCache | None:
    """The cache of a model that generates text; None for a model that does not.

    Args:
        model: A model of transformers with fake weights.

    Raises:
        ExportError: it generates, and its state is not found or is not keys and values.
    """
    if not model.can_generate() or model.config.is_encoder_decoder:
        return None
    if model._is_stateful:
        raise _refused(model, "keeps a recurrent state between steps", "only keys and values of")
    names = cache_parameters(model)
    if not names:
        raise ExportError(
            f"{type(model).__name__} generates text, and no parameter of its forward takes a "
            f"cache of keys and values; it takes {list(parameters(model))}. {_WITHOUT}"
        )
    return KeyValueCache(names[0], _shapes(model, names[0]))


def keys_and_values(result: Any) -> list[torch.Tensor] | None:
    """The keys and values in what a model returned, in layer order; None where there are none.

    Args:
        result: The output of the model (transformers ``ModelOutput``).
    """
    cache = returned_cache(result)
    if cache is None:
        return None
    held = [getattr(layer, part, None) for layer in cache.layers for part in _PARTS]
    found = [t for t in held if isinstance(t, torch.Tensor) and t.dim() == 4]
    return found if found and len(found) == len(held) else None


def returned_cache(result: Any) -> Any:
    """The cache in what a model returned; None where there is none, or several.

    Args:
        result: The output of the model (transformers ``ModelOutput``).
    """
    from transformers import Cache

    caches = [value for value in result.values() if isinstance(value, Cache)]
    return caches[0] if len(caches) == 1 else None


def filled_cache(past: Sequence[torch.Tensor]) -> Any:
    """A cache that holds these keys and values as they are.

    `update` on a new cache would concatenate each with an empty tensor, and the trace keep that.
    Every layer is a plain one: where the model has sliding windows, its mask applies them, while
    their own layers would count tokens in Python.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache = DynamicCache()
    for keys, values in zip(past[::2], past[1::2], strict=True):
        layer = DynamicLayer()
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        cache.layers.append(layer)
    if cache.get_seq_length() != past[0].shape[-2]:
        raise ExportError("this version of transformers does not take a cache that is filled so")
    return cache


def cache_parameters(model: Any) -> list[str]:
    """The parameters of a model's forward that take a cache, likeliest first."""
    taken = parameters(model)
    typed = [name for name, p in taken.items() if takes_cache(p.annotation)]
    return typed or [name for name in _NAMES if name in taken]


def takes_cache(annotation: Any) -> bool:
    """Whether a parameter of this annotation takes a cache of transformers."""
    from transformers import Cache

    return any(inspect.isclass(kind) and issubclass(kind, Cache) for kind in _kinds(annotation))


def _kinds(annotation: Any) -> Iterator[Any]:
    """The members of a union, or the annotation itself."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        for member in typing.get_args(annotation):
            yield from _kinds(member)
    else:
        yield annotation


def _shapes(model: Any, parameter: str) -> tuple[tuple[int, int], ...]:
    """Heads and width of each key and value, as the model itself makes them."""
    from transformers import DynamicCache

    tokens = torch.zeros(1, 2, dtype=torch.int64)
    mode: FakeTensorMode = next(model.parameters()).fake_mode
    try:
        # Below autograd, where operators that are made of others are worked out as one.
        with mode, torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
            result = model(
                input_ids=mode.from_tensor(tokens), use_cache=True, **{parameter: DynamicCache()}
            )
    except Exception as error:  # whatever the model's own code raises
        raise cannot_trace(
            f"{type(model).__name__} with a cache of keys and values", error
        ) from error
    tensors = keys_and_values(result)
    if tensors is None:
        raise _refused(
            model,
            f"takes a cache as {parameter!r} and returns no keys and values of its tokens in it",
            "only such a cache of",
        )
    return tuple((int(t.shape[1]), int(t.shape[3])) for t in tensors)


def _refused(model: Any, what: str, supported: str) -> ExportError:
    return ExportError(
        f"{type(model).__name__} {what}; {supported} attention are supported. {_WITHOUT}"
    )
