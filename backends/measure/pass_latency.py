"""Measure one pass over whole texts, of one model or of two in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from prunec.backends.measure.latency import Ratio, Summary, ratio_of
from prunec.backends.measure.likelihood import Progress, silent
from prunec.backends.measure.versions import versions
from prunec.backends.whole_runner import WholeRunner

_KNOWN_TOKENS = 50  # every vocabulary has that many, and which they are does not matter


@dataclass(frozen=True)
class PassWorkload:
    """What is run each time.

    Attributes:
        tokens: Length of every text.
        batch: Texts that are run together.
        repeats: Runs that are measured.
        warmup: Runs before them that are not.
        seed: Of the texts, which are random tokens.
    """

    tokens: int = 128
    batch: int = 1
    repeats: int = 10
    warmup: int = 2
    seed: int = 0


@dataclass(frozen=True)
class PassLatency:
    """How fast a model reads texts.

    Attributes:
        runner: The runner's name.
        workload: What was run.
        pass_ms: Time of one pass over a batch.
        tokens_per_second: Tokens of the whole batch over it.
        versions: What it was measured with.
    """

    runner: str
    workload: PassWorkload
    pass_ms: Summary
    tokens_per_second: Summary
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """JSON values under the attributes' names."""
        return asdict(self)


def measure_passes(
    runners: Sequence[WholeRunner], workload: PassWorkload, *, progress: Progress = silent
) -> list[PassLatency]:
    """Measure models in turn, each going first every other time.

    What slows the machine down for a while then slows all, and a ratio means something.
    """
    texts = torch.randint(
        _KNOWN_TOKENS,
        (workload.batch, workload.tokens),
        generator=torch.Generator().manual_seed(workload.seed),
    )
    times: list[list[float]] = [[] for _ in runners]
    rounds = workload.warmup + workload.repeats
    for index in progress(range(rounds), "measuring latency", rounds):
        places = range(len(runners))
        for place in places if index % 2 == 0 else reversed(places):
            times[place].append(_time(runners[place], texts))
    return [
        _summarise(runner.name, workload, found[workload.warmup :])
        for runner, found in zip(runners, times, strict=True)
    ]


def pass_ratio(subject: PassLatency, baseline: PassLatency) -> Ratio:
    """One model's times over another's that was measured in turn with it."""
    return ratio_of(subject.pass_ms, baseline.pass_ms)


def _time(runner: WholeRunner, texts: torch.Tensor) -> float:
    """Milliseconds of one pass."""
    started = time.perf_counter()
    runner.run(texts, torch.ones_like(texts))
    return (time.perf_counter() - started) * 1000


def _summarise(name: str, workload: PassWorkload, times: Sequence[float]) -> PassLatency:
    tokens = workload.batch * workload.tokens
    speeds = [tokens * 1000 / spent for spent in times]
    return PassLatency(name, workload, Summary.of("ms", times), Summary.of("tokens/s", speeds))
