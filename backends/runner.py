"""What every backend that executes a language model offers, and generation on top of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

Cache = Any
"""Keys and values of earlier tokens, in whatever form the runner keeps them."""


class Runner(Protocol):
    """A language model that can be stepped, with its cache in the caller's hands."""

    name: str
    """The backend and its device, for example ``onnxruntime/cpu``."""
    vocabulary: int

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: Cache | None
    ) -> tuple[torch.Tensor, Cache]:
        """Process new tokens after those in the cache.

        Args:
            tokens: [batch, new], int64.
            mask: [batch, past + new], int64: 1 for real tokens, 0 for padding on the left.
            cache: What the previous step returned; None before the first.

        Returns:
            Logits, [batch, new, vocabulary], float32 on the CPU, and the grown cache.
        """


def generate(
    runner: Runner,
    tokens: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    new_tokens: int,
    choose: Callable[[torch.Tensor], torch.Tensor] | None = None,
    stop: int | None = None,
) -> torch.Tensor:
    """Continue a batch of prompts.

    Args:
        runner: The model.
        tokens: [batch, prompt], int64, padded on the left.
        mask: [batch, prompt]: 0 for padding. All ones where not given.
        new_tokens: How many to add at most.
        choose: From logits [batch, vocabulary] to tokens [batch]; greedy where not given.
        stop: A token that ends a row; generation ends when every row has met it.

    Returns:
        [batch, added], int64: the new tokens alone.
    """
    choose = choose or (lambda logits: logits.argmax(-1))
    mask = torch.ones_like(tokens) if mask is None else mask
    added: list[torch.Tensor] = []
    ended = torch.zeros(len(tokens), dtype=torch.bool)
    step, cache = tokens, None
    for _ in range(new_tokens):
        logits, cache = runner.step(step, mask, cache)
        chosen = choose(logits[:, -1])
        if stop is not None:
            chosen = torch.where(ended, stop, chosen)
            ended |= chosen == stop
        added.append(chosen)
        if bool(ended.all()):
            break
        step = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return torch.stack(added, dim=1)
