"""Compare what two runners answer to the same tokens."""

from __future__ import annotations

from typing import Any

import torch

from prunec.backends.runner import Runner

# Sums in another order, 30 layers deep; TF32 stays off.
FLOAT32 = 1e-4
# A bfloat16 has 8 bits: 0.4 % in each of some hundred roundings that partly cancel.
BFLOAT16 = 0.1

_PROMPT, _STEPS = 9, 4


def walk(runner: Runner, prompt: int) -> torch.Tensor:
    """Logits of a left-padded batch of 3: a prompt first, then single tokens over the cache.

    Args:
        runner: The model.
        prompt: Tokens of the first step. All tokens: one pass without a cache.

    Returns:
        [tokens that are no padding, vocabulary], float32.
    """
    length = _PROMPT + _STEPS
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(runner.vocabulary, (3, length), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1, :4] = mask[2, : _PROMPT - 1] = 0
    logits, cache = runner.step(tokens[:, :prompt], mask[:, :prompt], None)
    found = [logits]
    for position in range(prompt, length):
        seen = mask[:, : position + 1]
        logits, cache = runner.step(tokens[:, position : position + 1], seen, cache)
        found.append(logits)
    return torch.cat(found, dim=1)[mask.bool()]


def walk_whole(runner: Runner) -> torch.Tensor:
    """`walk` in one pass without a cache."""
    return walk(runner, _PROMPT + _STEPS)


def walk_cached(runner: Runner) -> torch.Tensor:
    """`walk` with a prompt and single steps."""
    return walk(runner, _PROMPT)


def compare(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> dict[str, Any]:
    """The error of `found` relative to the root mean square of `expected`."""
    error = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    return {
        "relative_rms_error": error.item(),
        "max_abs_error": (found - expected).abs().max().item(),
        "top1_agreement": (found.argmax(-1) == expected.argmax(-1)).float().mean().item(),
        "tolerance": tolerance,
        "holds": bool(error <= tolerance),
    }
