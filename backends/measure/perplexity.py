"""Perplexity of a runner on windows of text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from prunec.backends.measure.likelihood import (
    Progress,
    mean_and_stderr,
    perplexity_of,
    silent,
    split,
    token_nll,
    window_logits,
)
from prunec.backends.measure.versions import versions
from prunec.backends.runner import Runner

# The protocol of published tables: non-overlapping windows from the start of the text.
WINDOW_TOKENS = 1024
WINDOW_COUNT = 60


@dataclass(frozen=True)
class Perplexity:
    """How well a runner predicts a text.

    Attributes:
        runner: The runner's name.
        perplexity: exp of `nll`.
        nll: Negative log-likelihood in nats, mean over all predicted tokens.
        nll_stderr: Its standard error, from the spread between windows.
        window_nll: The mean of each window.
        quarter_nll: The mean of the predicted tokens' first quarter, of the second, and so on: a
            model that adapts to its prompt may lose with the distance from it. Fewer parts where
            a window has fewer than four tokens.
        prompt_tokens: Tokens at the start of each window that are given, not predicted.
        windows: How many windows.
        tokens: How many tokens were predicted.
        vocabulary: How many tokens there are to choose from.
        seconds: Wall time.
        text: What the windows are, as their maker describes it: source, sha256, ...
        versions: What it was measured with.
    """

    runner: str
    perplexity: float
    nll: float
    nll_stderr: float | None
    window_nll: tuple[float, ...]
    quarter_nll: tuple[float, ...]
    prompt_tokens: int
    windows: int
    tokens: int
    vocabulary: int
    seconds: float
    text: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """JSON values under the attributes' names."""
        return asdict(self)


def perplexity(
    runner: Runner,
    windows: torch.Tensor,
    *,
    text: Mapping[str, Any] | None = None,
    batch: int | None = None,
    progress: Progress = silent,
) -> Perplexity:
    """Measure perplexity: each token of a window but the first, from those before it.

    Args:
        runner: The model.
        windows: [window, token], int64.
        text: Describes the windows in the result.
        batch: Windows that are run together; few where not given. Changes only the rounding.
        progress: Shows the batches.
    """
    started = time.perf_counter()
    batches = split(windows, batch)
    nll = torch.cat(
        [
            token_nll(window_logits(runner, rows), rows[:, 1:])
            for rows in progress(batches, "measuring perplexity", len(batches))
        ]
    )
    return summarise(runner, windows, nll, 1, started, text)


def summarise(
    runner: Runner,
    windows: torch.Tensor,
    nll: torch.Tensor,
    prompt_tokens: int,
    started: float,
    text: Mapping[str, Any] | None,
) -> Perplexity:
    """What the tokens' losses amount to.

    Args:
        runner: What was measured.
        windows: [window, token].
        nll: [window, predicted token], in nats.
        prompt_tokens: How many tokens of each were given.
        started: By `time.perf_counter`.
        text: Describes the windows.
    """
    nll = nll.double()
    window_nll = nll.mean(1).tolist()
    mean, stderr = mean_and_stderr(window_nll)
    parts = nll.tensor_split(min(4, nll.shape[1]), dim=1)
    return Perplexity(
        runner=runner.name,
        perplexity=perplexity_of(mean),
        nll=mean,
        nll_stderr=stderr,
        window_nll=tuple(window_nll),
        quarter_nll=tuple(part.mean().item() for part in parts),
        prompt_tokens=prompt_tokens,
        windows=len(windows),
        tokens=windows[:, prompt_tokens:].numel(),
        vocabulary=runner.vocabulary,
        seconds=time.perf_counter() - started,
        text=dict(text or {}),
    )
