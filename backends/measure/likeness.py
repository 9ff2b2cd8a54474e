"""Compare what two models that read texts whole return for the same texts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from prunec.backends.measure.likelihood import Progress, mean_and_stderr, silent, split
from prunec.backends.measure.versions import versions
from prunec.backends.whole_runner import Output, WholeRunner


@dataclass(frozen=True)
class OutputLikeness:
    """How far one output of two models is the same.

    Attributes:
        name: The output's.
        per: ``token`` where each token has its own, else ``text``.
        kl_nats: KL divergence from the dense distribution, mean over tokens or texts. None, as
            the next two, where the output is no distribution.
        kl_stderr_nats: Its standard error, from the spread between windows.
        top1_agreement: The share of tokens or texts for which both find the same likeliest.
        relative_error: The norm of the difference over that of the dense output. None, as the
            next two, where the output is a distribution.
        cosine: Between the vectors of both, mean over tokens or texts. None for single numbers.
        correlation: Of single numbers, over all tokens or texts; None where they do not vary.
    """

    name: str
    per: str
    kl_nats: float | None = None
    kl_stderr_nats: float | None = None
    top1_agreement: float | None = None
    relative_error: float | None = None
    cosine: float | None = None
    correlation: float | None = None


@dataclass(frozen=True)
class Likeness:
    """How far two models return the same.

    Attributes:
        dense: The name of the runner that is the reference.
        other: The name of the runner that is compared with it.
        outputs: What they return, one by one.
        windows: How many texts.
        tokens: How many tokens they have together.
        seconds: Wall time.
        text: What the windows are, as their maker describes it.
        versions: What it was measured with.
    """

    dense: str
    other: str
    outputs: tuple[OutputLikeness, ...]
    windows: int
    tokens: int
    seconds: float
    text: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """JSON values under the attributes' names."""
        return asdict(self)


def likeness(
    dense: WholeRunner,
    other: WholeRunner,
    windows: torch.Tensor,
    *,
    text: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Likeness:
    """Measure agreement where an output is a distribution, and distance where it is none.

    Args:
        dense: The reference.
        other: What is compared with it; of the same outputs.
        windows: [window, token], int64: whole texts without padding.
        text: Describes the windows in the result.
        progress: Shows the batches.

    Raises:
        ValueError: their outputs differ.
    """
    require_same_outputs(dense, other)
    started = time.perf_counter()
    batches = split(windows, None)
    rows: dict[str, list[torch.Tensor]] = {output.name: [] for output in dense.outputs}
    for part in progress(batches, "comparing with the dense model", len(batches)):
        mask = torch.ones_like(part)
        expected, found = dense.run(part, mask), other.run(part, mask)
        for output in dense.outputs:
            compare = _chances if output.is_distribution else _numbers
            rows[output.name].append(compare(expected[output.name], found[output.name]))
    return Likeness(
        dense=dense.name,
        other=other.name,
        outputs=tuple(_summarise(o, torch.cat(rows[o.name])) for o in dense.outputs),
        windows=len(windows),
        tokens=windows.numel(),
        seconds=time.perf_counter() - started,
        text=dict(text or {}),
    )


def require_same_outputs(dense: WholeRunner, other: WholeRunner) -> None:
    """Check that two models can be compared.

    Raises:
        ValueError: their outputs have other names or sizes.
    """
    expected, found = ([(o.name, o.shape[-1]) for o in r.outputs] for r in (dense, other))
    if expected != found:
        raise ValueError(f"the outputs are {expected} and {found}: only equal ones can be compared")


def _chances(expected: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """KL divergence and agreement, means over each window: [window, 2]."""
    p, q = (logits.double().log_softmax(-1) for logits in (expected, found))
    kl = (p.exp() * (p - q)).sum(-1)
    same = (p.argmax(-1) == q.argmax(-1)).double()
    return torch.stack([x.reshape(len(x), -1).mean(1) for x in (kl, same)], dim=1)


def _numbers(expected: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Sums over each window that the measures of vectors are made of: [window, 8]."""
    pairs = [x.double().reshape(len(x), -1, x.shape[-1]) for x in (expected, found)]
    a, b = pairs
    cosines = torch.nn.functional.cosine_similarity(a, b, dim=-1)
    count = torch.full((len(a),), float(cosines.shape[1]), dtype=torch.float64)
    flat = [(a - b).square(), a.square(), b.square(), a * b, a, b]
    return torch.stack([count, cosines.sum(1), *(x.sum((1, 2)) for x in flat)], dim=1)


def _summarise(output: Output, rows: torch.Tensor) -> OutputLikeness:
    per = "token" if output.is_per_token and output.shape[-1] != "sequence_length" else "text"
    if output.is_distribution:
        kl, stderr = mean_and_stderr(rows[:, 0].tolist())
        return OutputLikeness(output.name, per, kl, stderr, float(rows[:, 1].mean()))
    count, cosines, off, aa, bb, ab, a, b = rows.sum(0).tolist()
    error = (off / aa) ** 0.5 if aa else None
    if output.shape[-1] != 1:
        return OutputLikeness(output.name, per, relative_error=error, cosine=cosines / count)
    spread = (aa - a * a / count) * (bb - b * b / count)
    correlation = (ab - a * b / count) / spread**0.5 if spread > 0 else None
    return OutputLikeness(output.name, per, relative_error=error, correlation=correlation)
