"""Small cases of `tools/bench/gpu.py` on experts, for the tests of its parts."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any

from prunec.passes.ir import Program

SHORT = {
    "experts_prompt_tokens": 24,
    "experts_new_tokens": [4, 12],
    "experts_points": 3,
    "repeats": 2,
    "warmup": 1,
}


def module(name: str) -> ModuleType:
    """A module of `tools/bench`, which must be on the path."""
    return importlib.import_module(name)


def part(name: str) -> ModuleType:
    """A module of `gpu_bench`."""
    return module(f"gpu_bench.{name}")


def case(**changes: Any) -> Any:
    """An `ExpertsCase` of the tiny shape with these options changed."""
    options: argparse.Namespace = module("gpu")._parse(["--out", "unused.json", "--shape", "tiny"])
    vars(options).update(SHORT | changes)
    found = part("experts.case").ExpertsCase(options)
    found.bare = tiny_sides(found.keep)
    return found


@cache
def tiny_sides(keep: float) -> Any:
    traced = part("experts.case").trace_config(part("shapes").SHAPES["tiny"].config())
    return part("experts.case").choose_experts(traced, keep)


def two_layers(shape: str) -> dict[str, Program]:
    found = part("shapes").SHAPES[shape]
    config = type(found)(found.configuration, found.options | {"num_hidden_layers": 2}).config()
    traced = part("experts.case").trace_config(config)
    return part("experts.case").choose_experts(traced, keep=0.5)


def check_speed(speed: Mapping[str, Any]) -> None:
    assert speed["prefill"]["overhead"] > -1
    assert [step["past_tokens"] for step in speed["decode"]] == [24, 29, 34]
    assert all("weights_and_cache" in step["reached"] for step in speed["decode"])
    short, long = speed["generations"]
    assert (short["new_tokens"], long["new_tokens"]) == (4, 12)
    for side in ("dense", "chosen"):
        assert long[f"{side}_s"] > short[f"{side}_s"] > speed["prefill"][side]["median_ms"] / 1000
