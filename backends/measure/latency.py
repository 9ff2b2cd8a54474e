"""Measure prefill and decode of a runner, alone or against another one in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from prunec.backends.measure.likelihood import Progress, silent
from prunec.backends.measure.versions import versions
from prunec.backends.runner import Runner
from prunec.backends.sampling import greedy


@dataclass(frozen=True)
class Workload:
    """What is run each time.

    Attributes:
        prompt_tokens: Length of every prompt.
        new_tokens: Tokens generated after it, greedily; the first comes out of the prefill.
        batch: Prompts that are run together.
        repeats: Runs that are measured.
        warmup: Runs before them that are not.
        seed: Of the prompts, which are random tokens.
    """

    prompt_tokens: int = 128
    new_tokens: int = 32
    batch: int = 1
    repeats: int = 10
    warmup: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"prompt_tokens": 1, "new_tokens": 2, "batch": 1, "repeats": 1, "warmup": 0}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ValueError(f"{name} is {getattr(self, name)}: at least {limit} is needed")


@dataclass(frozen=True)
class Summary:
    """Values in the order they were measured, and what they amount to."""

    unit: str
    values: tuple[float, ...]
    mean: float
    p50: float
    p90: float
    p99: float
    stdev: float

    @classmethod
    def of(cls, unit: str, values: Sequence[float]) -> Summary:
        """Summarise at least one value."""
        points = torch.tensor(values, dtype=torch.float64)
        p50, p90, p99 = points.quantile(
            torch.tensor([0.5, 0.9, 0.99], dtype=torch.float64)
        ).tolist()
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(unit, tuple(values), points.mean().item(), p50, p90, p99, spread)


@dataclass(frozen=True)
class Latency:
    """How fast a runner is.

    Attributes:
        runner: The runner's name.
        workload: What was run.
        ttft_ms: Time to first token: prefill of the prompt and the choice of a token.
        tpot_ms: Time per output token after the first, a mean for each run.
        inter_token_ms: Each single decode step of all runs.
        prefill_tokens_per_second: Prompt tokens of the whole batch over TTFT.
        decode_tokens_per_second: New tokens of the whole batch over TPOT.
        versions: What it was measured with.
    """

    runner: str
    workload: Workload
    ttft_ms: Summary
    tpot_ms: Summary
    inter_token_ms: Summary
    prefill_tokens_per_second: Summary
    decode_tokens_per_second: Summary
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """JSON values under the attributes' names."""
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """One runner's times over another's, run by run; below 1 the first is faster.

    Attributes:
        of_medians: The median of the one over that of the other.
        p50: The median over pairs of runs that stand side by side.
        p10: Their tenth percentile.
        p90: Their ninetieth percentile.
    """

    of_medians: float
    p50: float
    p10: float
    p90: float


@dataclass(frozen=True)
class Comparison:
    """Two runners measured in turn on the same prompts.

    Attributes:
        subject: The one in question.
        baseline: What it is held against.
        ttft: Subject over baseline.
        tpot: Subject over baseline.
    """

    subject: Latency
    baseline: Latency
    ttft: Ratio
    tpot: Ratio

    def to_json(self) -> dict[str, Any]:
        """JSON values under the attributes' names."""
        return asdict(self)


def measure_latency(
    runner: Runner, workload: Workload | None = None, *, progress: Progress = silent
) -> Latency:
    """Measure one runner."""
    workload = workload or Workload()
    (found,) = _measure([runner], workload, progress)
    return found


def compare_latency(
    subject: Runner,
    baseline: Runner,
    workload: Workload | None = None,
    *,
    progress: Progress = silent,
) -> Comparison:
    """Measure two runners in turn, each going first every other time.

    What slows the machine down for a while then slows both, and a ratio means something.
    """
    workload = workload or Workload()
    first, second = _measure([subject, baseline], workload, progress)
    return Comparison(
        subject=first,
        baseline=second,
        ttft=ratio_of(first.ttft_ms, second.ttft_ms),
        tpot=ratio_of(first.tpot_ms, second.tpot_ms),
    )


def _measure(runners: Sequence[Runner], workload: Workload, progress: Progress) -> list[Latency]:
    vocabulary = min(runner.vocabulary for runner in runners)
    prompts = torch.randint(
        vocabulary,
        (workload.batch, workload.prompt_tokens),
        generator=torch.Generator().manual_seed(workload.seed),
    )
    runs: list[list[list[float]]] = [[] for _ in runners]
    rounds = workload.warmup + workload.repeats
    for index in progress(range(rounds), "measuring latency", rounds):
        order = range(len(runners)) if index % 2 == 0 else reversed(range(len(runners)))
        for which in order:
            runs[which].append(_run(runners[which], prompts, workload.new_tokens))
    return [
        _summarise(runner.name, workload, times[workload.warmup :])
        for runner, times in zip(runners, runs, strict=True)
    ]


def _run(runner: Runner, prompts: torch.Tensor, new_tokens: int) -> list[float]:
    """Milliseconds of the prefill and of each decode step after it."""
    tokens, mask, cache = prompts, torch.ones_like(prompts), None
    times = []
    for _ in range(new_tokens):
        started = time.perf_counter()
        logits, cache = runner.step(tokens, mask, cache)
        tokens = greedy(logits[:, -1:])
        times.append((time.perf_counter() - started) * 1000)
        mask = torch.cat([mask, torch.ones_like(tokens)], dim=1)
    return times


def _summarise(name: str, workload: Workload, runs: Sequence[Sequence[float]]) -> Latency:
    ttft = [run[0] for run in runs]
    tpot = [statistics.fmean(run[1:]) for run in runs]
    prompt = workload.batch * workload.prompt_tokens
    return Latency(
        runner=name,
        workload=workload,
        ttft_ms=Summary.of("ms", ttft),
        tpot_ms=Summary.of("ms", tpot),
        inter_token_ms=Summary.of("ms", [step for run in runs for step in run[1:]]),
        prefill_tokens_per_second=Summary.of("tokens/s", [prompt * 1000 / t for t in ttft]),
        decode_tokens_per_second=Summary.of("tokens/s", [workload.batch * 1000 / t for t in tpot]),
    )


def ratio_of(subject: Summary, baseline: Summary) -> Ratio:
    """Times over times that were measured in turn with them."""
    pairs = [a / b for a, b in zip(subject.values, baseline.values, strict=True)]
    points = torch.tensor([0.5, 0.1, 0.9], dtype=torch.float64)
    p50, p10, p90 = torch.tensor(pairs, dtype=torch.float64).quantile(points).tolist()
    return Ratio(subject.p50 / baseline.p50, p50, p10, p90)
