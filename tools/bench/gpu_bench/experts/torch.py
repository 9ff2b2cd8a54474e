"""Chosen experts against the dense program in PyTorch: memory and time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from gpu_bench.calls import Tensors, entry_call, random_cache, random_prompt
from gpu_bench.experts.case import ExpertsCase, Lengths
from gpu_bench.experts.speed import Timing, measure_speed
from gpu_bench.guard import guarded
from gpu_bench.timing import own_stream, time_graphs, time_in_turn
from prunec.backends.torch.place import place
from prunec.passes.analysis.cost import decoding_entry
from prunec.passes.ir import PREFILL, Entry, Program, Role


@torch.no_grad()
def measure(case: ExpertsCase, device: str) -> dict[str, Any]:
    """Memory, prefill, decode and generations of both sides, which share their weights."""
    sides = {
        side: TorchSide(program, case.lengths, device)
        for side, program in case.sides(torch.bfloat16, device).items()
    }
    results: dict[str, Any] = {"dtype": "bfloat16"}
    launches: dict[str, Timing] = {"eager": time_in_turn}
    if device == "cuda":
        results["peak_bytes"] = {name: _peak_bytes(side) for name, side in sides.items()}
        launches["cuda_graph"] = time_graphs
    with own_stream(device):
        for name, timing in launches.items():
            run = partial(measure_speed, sides, case, timing)
            results[name] = guarded(f"experts/torch/{name}", run)
    return results


def _peak_bytes(side: TorchSide) -> dict[str, int]:
    """Of a prompt, and of the last step with what the prompt chose; weights are in both."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    experts = side.read_prompt()
    prefill = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    past = side.lengths.pasts[-1]
    side.step(past, {**side.cache(past), **experts})()
    return {"prefill": prefill, "decode": torch.cuda.max_memory_allocated(), "past_tokens": past}


class TorchSide:
    """One program on a device. See `gpu_bench.experts.speed.Side`.

    Args:
        program: With one entry point, or with prefill and decode.
        lengths: What is run.
        device: Where.
    """

    def __init__(self, program: Program, lengths: Lengths, device: str) -> None:
        self.lengths = lengths
        self._device = device
        self._program = place(program, device)
        self._decode = decoding_entry(self._program)
        self._prefill: Entry = self._program.entries.get(PREFILL) or self._decode
        tokens = random_prompt(self._prefill, lengths.batch, lengths.prompt).to(device)
        self._token = tokens[:, :1]
        empty = random_cache(self._prefill, lengths.batch, 0, device)
        self.prefill = entry_call(self._program, self._prefill, tokens, 0, empty)

    def read_prompt(self) -> Tensors:
        """What the prompt chose, as decode reads it; nothing where it has no choice."""
        outputs = dict(zip((p.name for p in self._prefill.outputs), self.prefill(), strict=True))
        return {p.name: outputs[p.name] for p in self._decode.ports(Role.EXPERTS)[0]}

    def cache(self, past: int) -> Tensors:
        """Random keys and values."""
        return random_cache(self._decode, self.lengths.batch, past, self._device)

    def step(self, past: int, handed_on: Tensors) -> Callable[[], object]:
        """One token."""
        return entry_call(self._program, self._decode, self._token, past, handed_on)
