"""Score tokens with a runner's logits, a stretch of positions at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from prunec.backends.runner import Runner

Progress = Callable[[Iterable[Any], str, int], Iterator[Any]]
"""Wrap an iterable so that its consumption is shown: items, what they are, how many."""

BATCH_TOKENS = 1024  # the logits of all of them are held at once
_POSITIONS = 128  # a vocabulary of log-probabilities for each is held at once


def silent(items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
    """Show nothing."""
    return iter(items)


def split(windows: torch.Tensor, batch: int | None) -> tuple[torch.Tensor, ...]:
    """Batches of this many windows; where None, of as many as make about a thousand tokens."""
    return windows.split(batch or max(1, BATCH_TOKENS // windows.shape[1]))


def window_logits(runner: Runner, windows: torch.Tensor) -> torch.Tensor:
    """What a runner predicts for every token but the first: [window, token - 1, vocabulary]."""
    logits, _ = runner.step(windows, torch.ones_like(windows), None)
    return logits[:, :-1]


def logits_after_prompt(runner: Runner, windows: torch.Tensor, prompt_tokens: int) -> torch.Tensor:
    """What a runner predicts for every token after the prompt: [window, token, vocabulary].

    The prompt is one step without a cache, the rest one further step with the cache it left.

    Args:
        runner: The model.
        windows: [window, token]; several may share what is chosen from their prompts.
        prompt_tokens: How many tokens at the start of each are the prompt.
    """
    mask = torch.ones_like(windows)
    logits, cache = runner.step(windows[:, :prompt_tokens], mask[:, :prompt_tokens], None)
    first = logits[:, -1:]
    rest, _ = runner.step(windows[:, prompt_tokens:-1], mask[:, :-1], cache)
    return torch.cat([first, rest], dim=1)


def require_prompt(windows: torch.Tensor, prompt_tokens: int) -> None:
    """Check that a prompt leaves something of each window.

    Raises:
        ValueError: the prompt is empty, or leaves fewer than two tokens.
    """
    if not 1 <= prompt_tokens <= windows.shape[1] - 2:
        raise ValueError(
            f"prompt_tokens is {prompt_tokens}: windows of {windows.shape[1]} tokens allow 1 to "
            f"{windows.shape[1] - 2}"
        )


def stretches(length: int) -> Iterator[slice]:
    """Cut positions into stretches that bound the memory of what is done with their logits."""
    return (slice(i, min(i + _POSITIONS, length)) for i in range(0, length, _POSITIONS))


def token_nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood in nats of each target, float32.

    Args:
        logits: [row, position, vocabulary].
        targets: [row, position], int64.
    """
    parts = []
    for part in stretches(targets.shape[1]):
        found = logits[:, part].float()
        chosen = found.gather(-1, targets[:, part, None])[..., 0]
        parts.append(found.logsumexp(-1) - chosen)
    return torch.cat(parts, dim=1)


def perplexity_of(nll: float) -> float:
    """The exponential of a mean loss in nats; infinite where no float is that large."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of at least one value, and its standard error where there are several."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))
