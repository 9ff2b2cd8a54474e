import time

import pytest
import torch

from prunec.backends.measure.latency import (
    Summary,
    Workload,
    compare_latency,
    measure_latency,
)
from support.runners import BigramRunner, random_table

WORKLOAD = Workload(prompt_tokens=100, new_tokens=5, batch=2, repeats=4, warmup=1)


class Clock:
    """A clock that only runners move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns: list[str] = []


class TimedRunner(BigramRunner):
    """A runner that takes a known time: so much a token of prefill, so much a decode step."""

    def __init__(self, clock: Clock, name: str, prefill_ms: float, decode_ms: float) -> None:
        super().__init__(random_table(), name)
        self.clock, self.prefill_ms, self.decode_ms = clock, prefill_ms, decode_ms

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: int | None
    ) -> tuple[torch.Tensor, int]:
        if cache is None:
            self.clock.turns.append(self.name)
        self.clock.now += (self.prefill_ms if cache is None else self.decode_ms) / 1000
        return super().step(tokens, mask, cache)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: found.now)
    return found


def test_prefill_and_decode_are_told_apart(clock: Clock) -> None:
    found = measure_latency(TimedRunner(clock, "a", 50, 4), WORKLOAD)
    assert found.ttft_ms.p50 == pytest.approx(50)
    assert found.tpot_ms.p99 == pytest.approx(4)
    assert found.ttft_ms.stdev == pytest.approx(0, abs=1e-9)
    assert found.prefill_tokens_per_second.mean == pytest.approx(2 * 100 / 0.050)
    assert found.decode_tokens_per_second.mean == pytest.approx(2 / 0.004)


def test_warm_up_runs_are_not_counted(clock: Clock) -> None:
    runner = TimedRunner(clock, "a", 50, 4)
    found = measure_latency(runner, WORKLOAD)
    assert len(clock.turns) == 5
    assert len(found.ttft_ms.values) == len(found.tpot_ms.values) == 4
    assert len(found.inter_token_ms.values) == 4 * 4


def test_two_runners_take_turns_in_alternating_order(clock: Clock) -> None:
    a, b = TimedRunner(clock, "a", 50, 4), TimedRunner(clock, "b", 100, 5)
    found = compare_latency(a, b, WORKLOAD)
    assert "".join(clock.turns) == "abbaabbaab"
    assert found.ttft.of_medians == pytest.approx(0.5)
    assert found.tpot.p50 == pytest.approx(0.8)
    assert found.tpot.p10 == pytest.approx(found.tpot.p90)
    assert (found.subject.runner, found.baseline.runner) == ("a", "b")


def test_prompts_are_drawn_by_the_seed(clock: Clock) -> None:
    seen = []

    class Recorder(TimedRunner):
        def step(
            self, tokens: torch.Tensor, mask: torch.Tensor, cache: int | None
        ) -> tuple[torch.Tensor, int]:
            if cache is None:
                seen.append(tokens)
            return super().step(tokens, mask, cache)

    for seed in (0, 0, 1):
        workload = Workload(prompt_tokens=20, new_tokens=2, repeats=1, warmup=0, seed=seed)
        measure_latency(Recorder(clock, "a", 1, 1), workload)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_a_summary_is_that_of_its_values() -> None:
    found = Summary.of("ms", [4.0, 1.0, 3.0, 2.0])
    assert found.values == (4.0, 1.0, 3.0, 2.0)
    assert (found.mean, found.p50) == (2.5, 2.5)
    assert found.p90 == pytest.approx(3.7)
    assert found.stdev == pytest.approx((5 / 3) ** 0.5)


def test_the_result_is_json_with_the_workload(clock: Clock) -> None:
    document = measure_latency(TimedRunner(clock, "a", 50, 4), WORKLOAD).to_json()
    assert document["workload"]["prompt_tokens"] == 100
    assert set(document["ttft_ms"]) == {"unit", "values", "mean", "p50", "p90", "p99", "stdev"}
    assert "torch" in document["versions"]


def test_a_workload_that_decodes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="new_tokens is 1: at least 2"):
        Workload(new_tokens=1)
