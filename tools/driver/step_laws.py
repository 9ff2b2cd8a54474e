"""Laws of a model that is stepped with a cache."""

from __future__ import annotations

from pathlib import Path

import torch

from prunec.backends.ort import open_onnx
from prunec.backends.runner import Runner
from prunec.backends.torch import open_runner
from prunec.driver.tolerances import difference, judge
from prunec.passes.ir import Program

_CASES = ((1, 1, 0), (1, 7, 0), (3, 5, 0), (1, 1, 6), (2, 1, 9), (3, 4, 5))
"""Batch, new tokens, past tokens; every row but the first is padded on the left."""


def decode_law(program: Program) -> str:
    """After a prompt that chooses, tokens one by one give what they give together.

    Raises:
        ViolationError: they do not.
    """
    runner = open_runner(program)
    worst = 0.0
    for batch, new, past in _CASES:
        tokens, mask = _left_padded(runner.vocabulary, batch, past + new + 2)
        together = _last_logits(runner, tokens, mask, 2)
        _, cache = runner.step(tokens[:, :-2], mask[:, :-2], None)
        first, cache = runner.step(tokens[:, -2:-1], mask[:, :-1], cache)
        second, _ = runner.step(tokens[:, -1:], mask, cache)
        stepped = torch.cat([first, second], dim=1)
        worst = max(worst, _difference(together, stepped, mask[:, -2:]))
    return judge(worst, program, "logits", len(_CASES))


def cache_law(program: Program) -> str:
    """A prompt in parts gives what it gives together.

    Raises:
        ViolationError: it does not.
    """
    runner = open_runner(program)
    worst = 0.0
    for batch, new, past in _CASES:
        tokens, mask = _left_padded(runner.vocabulary, batch, past + new)
        whole, _ = runner.step(tokens, mask, None)
        stepped = _last_logits(runner, tokens, mask, new)
        worst = max(worst, _difference(whole[:, -new:], stepped, mask[:, -new:]))
    return judge(worst, program, "logits", len(_CASES))


def lowering_law(program: Program, onnx: Path) -> str:
    """An ONNX file or folder gives the program's logits.

    Raises:
        ViolationError: it does not.
    """
    here, there = open_runner(program), open_onnx(onnx)
    worst = 0.0
    for batch, new, past in _CASES:
        tokens, mask = _left_padded(here.vocabulary, batch, past + new)
        expected = _last_logits(here, tokens, mask, new)
        found = _last_logits(there, tokens, mask, new)
        worst = max(worst, _difference(expected, found, mask[:, -new:]))
    return judge(worst, program, "logits", len(_CASES))


def _left_padded(vocabulary: int, batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 100 + length)
    tokens = torch.randint(vocabulary, (batch, length), generator=generator)
    mask = torch.ones(batch, length, dtype=torch.int64)
    for row in range(1, batch):
        mask[row, : min(row, length - 1)] = 0
    return tokens, mask


def _last_logits(
    runner: Runner, tokens: torch.Tensor, mask: torch.Tensor, new: int
) -> torch.Tensor:
    """Logits of the last tokens, the others having gone into the cache before."""
    past = tokens.shape[1] - new
    cache = None
    if past:
        _, cache = runner.step(tokens[:, :past], mask[:, :past], None)
    logits, _ = runner.step(tokens[:, past:], mask, cache)
    return logits


def _difference(expected: torch.Tensor, found: torch.Tensor, mask: torch.Tensor) -> float:
    """The largest difference at real tokens, as a share of the largest logit."""
    real = mask.bool()
    return difference(expected[real], found[real])
