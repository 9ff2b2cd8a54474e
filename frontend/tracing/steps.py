"""A model of transformers as a function from named tensors to named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from prunec.frontend.tracing.cache import KeyValueCache, filled_cache, keys_and_values
from prunec.frontend.tracing.errors import ExportError
from prunec.frontend.tracing.feeds import parameters

# What the inside of a model gave on the way; it would stand in the way of pruning there.
_INNER = ("encoder_last_hidden_state",)


class CachedStep(torch.nn.Module):
    """One step of a decoder: tokens and the cache in, logits and the grown cache out.

    Args:
        model: A model of transformers.
        cache: Where it takes its cache.
    """

    def __init__(self, model: Any, cache: KeyValueCache) -> None:
        super().__init__()
        self.model = model
        self.cache = cache

    def forward(self, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """See the class."""
        past = [t for name, t in feeds.items() if name.startswith("past_key_values.")]
        rest = {n: t for n, t in feeds.items() if not n.startswith("past_key_values.")}
        result = self.model(**rest, **{self.cache.parameter: filled_cache(past)}, use_cache=True)
        present = keys_and_values(result)
        if present is None:
            raise ExportError(f"{type(self.model).__name__} returned no cache in this step")
        outputs = {"logits": result.logits}
        for index, tensor in enumerate(present):
            outputs[f"present.{index // 2}.{('key', 'value')[index % 2]}"] = tensor
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
