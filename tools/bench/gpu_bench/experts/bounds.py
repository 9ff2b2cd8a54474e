"""What bytes promise of chosen experts, how a generation adds up, and the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prunec.passes.analysis.cost import decode_bytes, measure
from prunec.passes.ir import Program


@dataclass(frozen=True)
class StepBytes:
    """What one decode step of both sides must read.

    Attributes:
        dense: Of weights, by the dense program.
        chosen: Of weights and chosen units.
        cache_per_token: What one token of the whole batch has in the cache; both sides read it.
    """

    dense: int
    chosen: int
    cache_per_token: int

    @classmethod
    def of(cls, dense: Program, chosen: Program, batch: int) -> StepBytes:
        """Count them."""
        cache = batch * measure(dense).kv_bytes_per_token
        return cls(decode_bytes(dense), decode_bytes(chosen), cache)

    def bound(self, cached_tokens: int = 0, passes: int = 1) -> float:
        """How many times faster a step is at most if memory alone sets its time.

        Args:
            cached_tokens: How many the step attends to.
            passes: How often the cache goes over the bus: once where it is only read; three times
                where the step also copies it into a longer one.
        """
        cache = passes * self.cache_per_token * cached_tokens
        return (self.dense + cache) / (self.chosen + cache)

    def bounds(self, past: int) -> dict[str, float]:
        """The bounds of a step after `past` tokens."""
        return {
            "weights": self.bound(),
            "weights_and_cache": self.bound(past + 1),
            "weights_and_copied_cache": self.bound(past + 1, passes=3),
        }


def reached(speedup: float, bounds: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Shares of each bound: of the speed-up itself, and of the time that it would save."""
    return {
        name: {
            "bound": bound,
            "share_of_bound": speedup / bound,
            "share_of_saving": (1 - 1 / speedup) / (1 - 1 / bound) if bound > 1 else 1.0,
        }
        for name, bound in bounds.items()
    }


def past_lengths(prompt: int, new_tokens: int, points: int) -> list[int]:
    """Where decode is measured: evenly from the first step of a generation to its last."""
    last = max(prompt, prompt + new_tokens - 2)
    return sorted({round(p) for p in np.linspace(prompt, last, max(2, points)).tolist()})


def generation_ms(
    prefill_ms: float, steps: Sequence[tuple[int, float]], prompt: int, new_tokens: int
) -> float:
    """Milliseconds from the prompt to the last of `new_tokens`.

    The prefill gives the first token; each further one is a step, whose time is interpolated
    linearly between the past lengths that were measured.

    Args:
        prefill_ms: Of the prompt.
        steps: Past length and milliseconds, ascending.
        prompt: Tokens before the first step.
        new_tokens: At least 1.

    Raises:
        ValueError: a step of the generation lies outside of what was measured.
    """
    pasts = np.arange(prompt, prompt + new_tokens - 1)
    known, times = zip(*steps, strict=True)
    if len(pasts) and not known[0] <= pasts[0] <= pasts[-1] <= known[-1]:
        raise ValueError(
            f"steps after {pasts[0]} to {pasts[-1]} tokens are needed, and {known[0]} to "
            f"{known[-1]} were measured"
        )
    return prefill_ms + float(np.interp(pasts, known, times).sum())


_UNVERIFIED = (
    "seconds: the paper's latency table from memory, unverified except that the ratios of "
    "2048+2048 reproduce the abstract's"
)
PAPER: dict[str, dict[str, Any]] = {
    "gemma-7b": {
        "model": "Gemma-7B",
        "speedup_of_abstract": 1.29,
        "2048+128": {"dense_s": 4.5, "chosen_s": 4.2},
        "2048+2048": {"dense_s": 89.2, "chosen_s": 68.8, "speedup": 1.297},
    },
    "llama-2-13b": {
        "model": "Llama-2-13B",
        "speedup_of_abstract": 1.25,
        "bound": {"weights": 1.48, "source": "13.02 B / 8.77 B active parameters, our arithmetic"},
        "2048+128": {"dense_s": 6.8, "chosen_s": 5.4},
        "2048+2048": {"dense_s": 119.1, "chosen_s": 94.9, "speedup": 1.255},
    },
}
"""GRIFFIN's own measurements by shape, for comparison; none of them is ours."""


def paper_figures(shape: str) -> dict[str, Any] | None:
    """What the paper says about a shape, with its source; None where it says nothing."""
    if shape not in PAPER:
        return None
    return {
        "source": "Dong et al. 2024 (GRIFFIN), arXiv 2404.01365; NVIDIA L40, half of the "
        "feed-forward units, batch 1; speedup_of_abstract: its abstract",
        "note": _UNVERIFIED,
        **PAPER[shape],
    }
