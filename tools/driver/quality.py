"""How far two language models agree, be it with a prompt that chooses or without."""

from __future__ import annotations

from typing import Any

import torch

from prunec.backends.measure import Agreement, agreement, agreement_after_prompt
from prunec.backends.runner import Runner


def compare_quality(
    dense: Runner, other: Runner, windows: torch.Tensor, *, after_prompt: bool, **options: Any
) -> Agreement:
    """How far two models agree, window by window.

    Args:
        dense: The reference.
        other: What is compared with it.
        windows: [window, token], int64.
        after_prompt: Whether the first half of each window is a prompt and only the rest counts:
            where a prompt chooses what a model decodes with, its own tokens say nothing of that.
        options: Text and progress, as `prunec.backends.measure.agreement` takes them.
    """
    if after_prompt:
        prompt = half_of(windows)
        return agreement_after_prompt(dense, other, windows, prompt_tokens=prompt, **options)
    return agreement(dense, other, windows, **options)


def half_of(windows: torch.Tensor) -> int:
    """How many tokens of each window are its prompt."""
    return windows.shape[1] // 2
