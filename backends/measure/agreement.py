"""Compare a program with the dense one on the same text, in one pass over both."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from prunec.backends.measure.likelihood import (
    Progress,
    logits_after_prompt,
    mean_and_stderr,
    perplexity_of,
    require_prompt,
    silent,
    split,
    stretches,
    token_nll,
    window_logits,
)
from prunec.backends.measure.versions import versions
from prunec.backends.runner import Runner

_TITLE = "comparing with the dense model"


@dataclass(frozen=True)
class Agreement:
    """How far one runner's predictions are from those of another.

    Attributes:
        dense: The name of the runner that is the reference.
        other: The name of the runner that is compared with it.
        kl_nats: KL divergence of `other` from `dense`, mean over tokens.
        kl_stderr_nats: Its standard error, from the spread between windows.
        top1_agreement: The share of tokens for which both find the same one likeliest.
        dense_perplexity: Of `dense` on these windows.
        other_perplexity: Of `other` on these windows.
        nll_difference: By how many nats a token is less likely to `other`, mean over tokens.
        nll_difference_stderr: Its standard error, from the spread of the windows' differences.
        windows: How many windows.
        tokens: How many tokens were predicted.
        vocabulary: How many tokens there are to choose from.
        seconds: Wall time.
        prompt_tokens: Tokens at the start of each window that are given, not predicted.
        text: What the windows are, as their maker describes it.
        versions: What it was measured with.
    """

    dense: str
    other: str
    kl_nats: float
    kl_stderr_nats: float | None
    top1_agreement: float
    dense_perplexity: float
    other_perplexity: float
    nll_difference: float
    nll_difference_stderr: float | None
    windows: int
    tokens: int
    vocabulary: int
    seconds: float
    prompt_tokens: int = 1
    text: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """JSON values under the attributes' names."""
        return asdict(self)


def agreement(
    dense: Runner,
    other: Runner,
    windows: torch.Tensor,
    *,
    text: Mapping[str, Any] | None = None,
    batch: int | None = None,
    progress: Progress = silent,
) -> Agreement:
    """Measure KL divergence, agreement and both perplexities.

    Every token of a window but the first is predicted from those before it. The logits of one
    batch are held at a time.

    Args:
        dense: The reference.
        other: What is compared with it; of the same vocabulary.
        windows: [window, token], int64.
        text: Describes the windows in the result.
        batch: Windows that are run together; few where not given.
        progress: Shows the batches.
    """
    started = time.perf_counter()
    batches = split(windows, batch)
    rows = [
        _compare(window_logits(dense, part), window_logits(other, part), part[:, 1:])
        for part in progress(batches, _TITLE, len(batches))
    ]
    return Agreement(
        **_figures(dense, other, rows),
        tokens=windows[:, 1:].numel(),
        seconds=time.perf_counter() - started,
        text=dict(text or {}),
    )


def agreement_after_prompt(
    dense: Runner,
    other: Runner,
    windows: torch.Tensor,
    *,
    prompt_tokens: int,
    text: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Agreement:
    """The same on the tokens after a prompt, in which a model may choose what it decodes with.

    See `prunec.backends.measure.split_perplexity` for which tokens count.

    Args:
        dense: The reference.
        other: What is compared with it; of the same vocabulary.
        windows: [window, token], int64; run one at a time.
        prompt_tokens: How many tokens at the start of each window are its prompt.
        text: Describes the windows in the result.
        progress: Shows the windows.

    Raises:
        ValueError: the prompt is empty, or leaves fewer than two tokens of a window.
    """
    require_prompt(windows, prompt_tokens)
    started = time.perf_counter()
    rows = [
        _compare(
            logits_after_prompt(dense, window[None], prompt_tokens),
            logits_after_prompt(other, window[None], prompt_tokens),
            window[None, prompt_tokens:],
        )
        for window in progress(windows, _TITLE, len(windows))
    ]
    return Agreement(
        **_figures(dense, other, rows),
        tokens=windows[:, prompt_tokens:].numel(),
        seconds=time.perf_counter() - started,
        prompt_tokens=prompt_tokens,
        text=dict(text or {}),
    )


def _figures(dense: Runner, other: Runner, rows: Sequence[torch.Tensor]) -> dict[str, Any]:
    """What an `Agreement` says of the two, from the rows that `_compare` gave."""
    found = torch.cat(list(rows))  # [window, measure]
    _, same, dense_nll, other_nll = found.mean(0).tolist()
    kl, kl_stderr = mean_and_stderr(found[:, 0].tolist())
    difference, difference_stderr = mean_and_stderr((found[:, 3] - found[:, 2]).tolist())
    return {
        "dense": dense.name,
        "other": other.name,
        "kl_nats": kl,
        "kl_stderr_nats": kl_stderr,
        "top1_agreement": same,
        "dense_perplexity": perplexity_of(dense_nll),
        "other_perplexity": perplexity_of(other_nll),
        "nll_difference": difference,
        "nll_difference_stderr": difference_stderr,
        "windows": len(found),
        "vocabulary": dense.vocabulary,
    }


def _compare(expected: torch.Tensor, found: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Means over each window's tokens: KL, agreement, NLL of dense, NLL of other."""
    kl, same = [], []
    for part in stretches(targets.shape[1]):
        p, q = (logits[:, part].float().log_softmax(-1) for logits in (expected, found))
        weights = p.exp()  # zero where a vocabulary has places that are no tokens
        kl.append(torch.where(weights == 0, 0, weights * (p - q)).sum(-1))
        same.append((p.argmax(-1) == q.argmax(-1)).float())
    columns = [torch.cat(kl, 1), torch.cat(same, 1)]
    columns += [token_nll(expected, targets), token_nll(found, targets)]
    return torch.stack([c.double().mean(1) for c in columns], dim=1)
