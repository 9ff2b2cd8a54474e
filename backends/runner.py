"""What every backend that executes a language model offers, and generation on top of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch

from prunec.backends.sampling import Choose, greedy

Cache = Any
"""Keys and values of earlier tokens, in whatever form the runner keeps them."""


class GenerationError(ValueError):
    """A request that cannot be generated from; says what is wrong and what to do."""


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


def stream(
    runner: Runner,
    tokens: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    new_tokens: int,
    choose: Choose = greedy,
    stop: int | None = None,
) -> Iterator[torch.Tensor]:
    """Continue a batch of prompts and yield the new tokens as they are chosen.

    Args:
        runner: The model.
        tokens: [batch, prompt], int64, padded on the left.
        mask: [batch, prompt]: 0 for padding. All ones where not given.
        new_tokens: How many to add at most.
        choose: From logits to tokens, see `prunec.backends.sampling`.
        stop: A token that ends a row and fills what follows it; generation ends when every row
            has met it.

    Returns:
        An iterator over the new tokens, each time [batch], int64.

    Raises:
        GenerationError: a row has no token to continue, or the mask does not fit.
    """
    mask = torch.ones_like(tokens) if mask is None else mask
    if mask.shape != tokens.shape:
        raise GenerationError(
            f"the mask is {list(mask.shape)} and the prompts are {list(tokens.shape)}: both are "
            "[batch, prompt]"
        )
    empty = (mask.sum(1) == 0).nonzero().flatten().tolist()
    if empty or not len(tokens):
        which = f"rows {empty} of {len(tokens)} are empty" if len(tokens) else "there is no prompt"
        raise GenerationError(f"{which}: give each prompt at least one token")
    return _steps(runner, tokens, mask, new_tokens, choose, stop)


def _steps(
    runner: Runner,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    new_tokens: int,
    choose: Choose,
    stop: int | None,
) -> Iterator[torch.Tensor]:
    ended = torch.zeros(len(tokens), dtype=torch.bool)
    cache = None
    for _ in range(new_tokens):
        logits, cache = runner.step(tokens, mask, cache)
        chosen = choose(logits[:, -1])
        if stop is not None:
            chosen = torch.where(ended, stop, chosen)
            ended |= chosen == stop
        yield chosen
        if bool(ended.all()):
            return
        tokens = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)


def generate(
    runner: Runner,
    tokens: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    new_tokens: int,
    choose: Choose = greedy,
    stop: int | None = None,
) -> torch.Tensor:
    """Continue a batch of prompts; arguments and errors are those of `stream`.

    Returns:
        [batch, added], int64: the new tokens alone.
    """
    chosen = stream(runner, tokens, mask, new_tokens=new_tokens, choose=choose, stop=stop)
    return torch.cat([tokens[:, :0], *(row[:, None] for row in chosen)], dim=1)
