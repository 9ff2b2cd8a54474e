"""Compare a program with the dense one on the same text, in one pass over both."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from prunec.backends.measure.likelihood import (
    Progress,
    mean_and_stderr,
    silent,
    split,
    stretches,
    token_nll,
    window_logits,
)
from prunec.backends.measure.versions import versions
from prunec.backends.runner import Runner


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
        windows: How many windows.
        tokens: How many tokens were predicted.
        seconds: Wall time.
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
    windows: int
    tokens: int
    seconds: float
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
        _compare(dense, other, rows)
        for rows in progress(batches, "comparing with the dense model", len(batches))
    ]
    found = torch.cat(rows)  # [window, measure]
    _, same, dense_nll, other_nll = found.mean(0).tolist()
    kl, kl_stderr = mean_and_stderr(found[:, 0].tolist())
    return Agreement(
        dense=dense.name,
        other=other.name,
        kl_nats=kl,
        kl_stderr_nats=kl_stderr,
        top1_agreement=same,
        dense_perplexity=math.exp(dense_nll),
        other_perplexity=math.exp(other_nll),
        windows=len(windows),
        tokens=windows[:, 1:].numel(),
        seconds=time.perf_counter() - started,
        text=dict(text or {}),
    )


def _compare(dense: Runner, other: Runner, windows: torch.Tensor) -> torch.Tensor:
    """Means over each window's tokens: KL, agreement, NLL of dense, NLL of other."""
    expected, found = window_logits(dense, windows), window_logits(other, windows)
    targets = windows[:, 1:]
    kl, same = [], []
    for part in stretches(targets.shape[1]):
        p, q = (logits[:, part].float().log_softmax(-1) for logits in (expected, found))
        kl.append((p.exp() * (p - q)).sum(-1))
        same.append((p.argmax(-1) == q.argmax(-1)).float())
    columns = [torch.cat(kl, 1), torch.cat(same, 1)]
    columns += [token_nll(expected, targets), token_nll(found, targets)]
    return torch.stack([c.double().mean(1) for c in columns], dim=1)
