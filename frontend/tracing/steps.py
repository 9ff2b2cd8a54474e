"""A model of transformers as a function from named tensors to named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from prunec.frontend.tracing.errors import ExportError, cannot_trace
from prunec.frontend.tracing.feeds import parameters

# What the inside of a model gave on the way; it would stand in the way of pruning there.
_INNER = ("encoder_last_hidden_state",)


class CachedStep(torch.nn.Module):
    """One step of a decoder: tokens and the cache in, logits and the grown cache out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """See the class."""
        past = [t for name, t in feeds.items() if name.startswith("past_key_values.")]
        rest = {n: t for n, t in feeds.items() if not n.startswith("past_key_values.")}
        result = self.model(**rest, past_key_values=_filled_cache(past), use_cache=True)
        outputs = {"logits": result.logits}
        for index, layer in enumerate(result.past_key_values.layers):
            outputs[f"present.{index}.key"] = layer.keys
            outputs[f"present.{index}.value"] = layer.values
        return outputs


class WholeRun(torch.nn.Module):
    """A model that is run once on all that it is given; out comes every tensor that it returns."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.flags = {"use_cache": False} if "use_cache" in parameters(model) else {}

    def forward(self, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """See the class."""
        result = self.model(**feeds, **self.flags)
        return {
            name: value
            for name, value in result.items()
            if isinstance(value, torch.Tensor) and name not in _INNER
        }


def keeps_cache(model: Any) -> bool:
    """Whether the model generates text from keys and values of earlier tokens.

    Raises:
        ExportError: it keeps a state of another kind.
    """
    if getattr(model, "_is_stateful", False):
        raise ExportError(
            f"{type(model).__name__} keeps a recurrent state between steps; only keys and values "
            "of attention are supported. Trace its blocks one by one with trace_module"
        )
    is_decoder = not getattr(model.config, "is_encoder_decoder", False)
    return is_decoder and model.can_generate() and "past_key_values" in parameters(model)


def cache_shapes(model: Any) -> list[tuple[int, int]]:
    """Heads and width of each key and value, in layer order, as the model itself makes them.

    Raises:
        ExportError: its state is no keys and values.
    """
    from transformers import DynamicCache

    tokens = torch.zeros(1, 2, dtype=torch.int64)
    mode: FakeTensorMode = next(model.parameters()).fake_mode
    try:
        # Below autograd, where operators that are made of others are worked out as one.
        with mode, torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
            result = model(
                input_ids=mode.from_tensor(tokens), past_key_values=DynamicCache(), use_cache=True
            )
    except Exception as error:  # whatever the model's own code raises
        raise cannot_trace(
            f"{type(model).__name__} with a cache of keys and values", error
        ) from error
    layers = getattr(result.get("past_key_values"), "layers", ())
    tensors: list[Any] = [getattr(x, name, None) for x in layers for name in ("keys", "values")]
    if not tensors or any(t is None or t.dim() != 4 for t in tensors):
        raise ExportError(
            f"{type(model).__name__} returns no keys and values of its tokens, though it takes "
            "some; only such a cache is supported. Trace its blocks one by one with trace_module"
        )
    return [(int(t.shape[1]), int(t.shape[3])) for t in tensors]


def _filled_cache(past: Sequence[torch.Tensor]) -> Any:
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
    return cache
