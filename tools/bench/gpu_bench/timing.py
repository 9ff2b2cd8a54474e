"""Time work on the GPU: sides in turn, with CUDA events; without a GPU by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import torch

from gpu_bench.bench import Bench
from prunec.backends.measure.latency import Ratio, Summary, Workload, compare_latency
from prunec.backends.runner import Runner


def time_in_turn(
    sides: Mapping[str, Callable[[], object]], warmup: int, repeats: int
) -> dict[str, Any]:
    """Milliseconds of each side, measured in turn so that a slow moment slows all.

    The work goes to the current stream. The ratio is the second side's median over the first's.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(warmup):
        for work in sides.values():
            work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    for index in range(repeats):
        names = list(sides) if index % 2 == 0 else list(sides)[::-1]
        for name in names:
            times[name].append(_time_once(sides[name]))
    points = {name: _points(values) for name, values in times.items()}
    first, second = (found["median_ms"] for found in points.values())
    return {**points, "ratio": second / first}


def _time_once(work: Callable[[], object]) -> float:
    if not torch.cuda.is_available():
        started = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - started)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def _points(values: list[float]) -> dict[str, float]:
    points = torch.tensor(values).quantile(torch.tensor([0.5, 0.9])).tolist()
    return {"median_ms": points[0], "p90_ms": points[1], "count": len(values)}


def time_graphs(
    sides: Mapping[str, Callable[[], object]], warmup: int, repeats: int
) -> dict[str, Any]:
    """`time_in_turn` on CUDA graphs of the work: without the time that launches take."""
    try:
        graphs = {side: _capture(work) for side, work in sides.items()}
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # an operator that waits for the GPU cannot be captured
        torch.cuda.synchronize()
        return {"skipped": f"cannot be captured: {str(error).splitlines()[0]}"}
    return time_in_turn({s: graph.replay for s, graph in graphs.items()}, warmup, repeats)


def own_stream(device: str) -> Any:
    """A context on a stream of its own, for graphs are not captured on the default one."""
    if device != "cuda":
        return nullcontext()
    torch.cuda.synchronize()  # what was made so far was made on another stream
    return torch.cuda.stream(torch.cuda.Stream())


def _capture(work: Callable[[], object]) -> torch.cuda.CUDAGraph:
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        work()
    return graph


def time_generation(bench: Bench, runners: Mapping[str, Runner]) -> dict[str, Any]:
    """TTFT and TPOT as a caller of `step` meets them, logits on the host; pruned over dense."""
    options = bench.options
    workload = Workload(
        prompt_tokens=options.prompt_tokens,
        new_tokens=options.new_tokens,
        batch=options.batch,
        repeats=max(3, options.repeats // 4),
        warmup=2,
    )
    found = compare_latency(runners["pruned"], runners["dense"], workload)
    return {
        "includes": "copies of tokens to the device and of all logits to the host",
        "workload": asdict(workload),
        "dense": _brief(found.baseline.ttft_ms, found.baseline.tpot_ms),
        "pruned": _brief(found.subject.ttft_ms, found.subject.tpot_ms),
        "ratio": {"ttft": _median(found.ttft), "tpot": _median(found.tpot)},
    }


def _brief(ttft: Summary, tpot: Summary) -> dict[str, float]:
    return {
        "ttft_p50_ms": ttft.p50,
        "ttft_p90_ms": ttft.p90,
        "tpot_p50_ms": tpot.p50,
        "tpot_p90_ms": tpot.p90,
    }


def _median(ratio: Ratio) -> float:
    return ratio.of_medians
