"""From both sides to prefill, decode and whole generations, against what bytes promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from gpu_bench.experts.bounds import StepBytes, generation_ms, reached
from gpu_bench.experts.case import SIDES, ExpertsCase, Lengths
from gpu_bench.memory import used_bytes

Values = Mapping[str, Any]
"""A library's tensors by the names of inputs."""
Calls = Mapping[str, Callable[[], object]]
Timing = Callable[[Calls, int, int], dict[str, Any]]


class Side(Protocol):
    """One program in some library, with its tensors on the device."""

    prefill: Callable[[], object]
    """Run the prompt."""

    def read_prompt(self) -> Values:
        """What the prompt chose, as decode reads it; nothing where it has no choice."""

    def cache(self, past: int) -> Values:
        """Keys and values of `past` tokens, which serve both sides."""

    def step(self, past: int, handed_on: Values) -> Callable[[], object]:
        """What runs one token after `past` others."""


def measure_speed(sides: Mapping[str, Side], case: ExpertsCase, timing: Timing) -> dict[str, Any]:
    """Both sides in turn: the prompt, steps at several past lengths, and what they add up to.

    Args:
        sides: ``dense`` and ``chosen``.
        case: What is run.
        timing: From calls, warm-ups and repeats to the medians, ``skipped`` where it cannot.
    """

    def timed(calls: Calls) -> dict[str, Any]:
        return timing(calls, case.warmup, case.repeats)

    found: dict[str, Any] = {"prefill": timed({name: sides[name].prefill for name in SIDES})}
    if "skipped" in found["prefill"]:
        return found
    found["prefill"]["overhead"] = found["prefill"]["ratio"] - 1
    handed_on = {name: sides[name].read_prompt() for name in SIDES}
    found["decode"] = [
        {"past_tokens": past} | _step(timed(_steps(sides, handed_on, past)), past, case.step_bytes)
        for past in case.lengths.pasts
    ]
    if all("skipped" not in step for step in found["decode"]):
        found["generations"] = [
            _generation(found, case.lengths, count, case.step_bytes)
            for count in case.lengths.new_tokens
        ]
    return found


def held_bytes(open_side: Callable[[], Side], case: ExpertsCase) -> tuple[Side, int | None]:
    """A side, and what the device has less once it read the prompt and made its last step.

    Libraries keep what they once allocated, so this is about the most that they held at once;
    None where there is no GPU.
    """
    torch.cuda.empty_cache()
    before = used_bytes()
    side = open_side()
    experts = side.read_prompt()
    past = case.lengths.pasts[-1]
    side.step(past, {**side.cache(past), **experts})()
    after = used_bytes()
    return side, None if before is None or after is None else after - before


def _steps(sides: Mapping[str, Side], handed_on: Mapping[str, Values], past: int) -> Calls:
    """One token of each side after the same cache, which lies there once."""
    cache = sides["dense"].cache(past)
    return {name: sides[name].step(past, {**cache, **handed_on[name]}) for name in SIDES}


def _step(found: dict[str, Any], past: int, step_bytes: StepBytes) -> dict[str, Any]:
    if "skipped" in found:
        return found
    speedup = 1 / found["ratio"]
    return {**found, "speedup": speedup, "reached": reached(speedup, step_bytes.bounds(past))}


def _generation(
    found: Mapping[str, Any], lengths: Lengths, new_tokens: int, step_bytes: StepBytes
) -> dict[str, Any]:
    """The time of both sides for the prompt and `new_tokens`, from the prefill and the steps."""
    seconds = {}
    for side in SIDES:
        steps = [(step["past_tokens"], step[side]["median_ms"]) for step in found["decode"]]
        prefill = found["prefill"][side]["median_ms"]
        seconds[side] = generation_ms(prefill, steps, lengths.prompt, new_tokens) / 1000
    speedup = seconds["dense"] / seconds["chosen"]
    return {
        "prompt_tokens": lengths.prompt,
        "new_tokens": new_tokens,
        "dense_s": seconds["dense"],
        "chosen_s": seconds["chosen"],
        "ratio": 1 / speedup,
        "speedup": speedup,
        "reached": reached(speedup, {"weights": step_bytes.bound()}),
    }
