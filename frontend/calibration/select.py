"""Turn a specification of text into windows of tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from prunec.frontend.calibration.documents import read_text
from prunec.frontend.calibration.spec import (
    SELF,
    CalibrationError,
    CalibrationSet,
    CalibrationSpec,
    Notice,
    Progress,
)
from prunec.frontend.calibration.written import Author, Written, written_windows


def _silent(items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
    return iter(items)


def _unheard(message: str) -> None:
    return None


def calibration_tokens(
    spec: CalibrationSpec,
    tokenizer: Any,
    author: Author | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = _silent,
    notice: Notice = _unheard,
) -> CalibrationSet:
    """Obtain the windows of a specification; the same call gives the same tokens.

    Args:
        spec: Which text, and how much of it. Serves text to measure on as well.
        tokenizer: Of transformers.
        author: The dense model; needed for the source ``self`` only.
        cache: Where text that the model wrote is kept; written anew each time where None.
        progress: Shows the writing, token by token.
        notice: Is told of stored text that is damaged and is written again.

    Raises:
        CalibrationError: the text is missing, malformed or too short.
    """
    if spec.source == SELF:
        if author is None:
            raise CalibrationError("the source self needs the model that is to write the text")
        written = written_windows(spec, tokenizer, author, cache, progress, notice)
        found = _described(spec, written.tokens, written.tokens.numpy().tobytes())
        return replace(found, description={**found.description, "written": _likelihood(written)})
    text = read_text(spec.source, spec.end_window * spec.window_tokens)
    windows = _cut(spec, _tokenise(tokenizer, text))
    if spec.with_special_tokens:
        windows = _marked(windows, tokenizer)
    return _described(spec, windows, text.encode())


def _likelihood(written: Written) -> dict[str, float]:
    """How likely the text was to its author.

    Returns:
        ``nll``: in nats, the mean over the tokens of which it is known; ``known_share``: of those
        that are predicted, all but the first of each window.
    """
    nll = written.nll[:, 1:]
    known = nll[~nll.isnan()].double()
    total, count = known.sum().item(), known.numel()
    return {"nll": total / max(count, 1), "known_share": count / nll.numel()}


def _tokenise(tokenizer: Any, text: str) -> list[int]:
    """One piece, without special tokens; `verbose` would warn that it is long."""
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def _cut(spec: CalibrationSpec, tokens: list[int]) -> torch.Tensor:
    first, end = (i * spec.window_tokens for i in (spec.first_window, spec.end_window))
    if len(tokens) < end:
        there = len(tokens) // spec.window_tokens
        spread = (there - spec.first_window) // spec.window_count
        raise CalibrationError(
            f"{spec.source} has {len(tokens)} tokens, that is {there} windows of "
            f"{spec.window_tokens}; windows {spec.first_window} to {spec.end_window - 1} need "
            f"{end}. Give more text, or ask for fewer windows"
            + (f" or every={spread}" if 0 < spread < spec.every else "")
        )
    windows = torch.tensor(tokens[first:end], dtype=torch.int64).reshape(-1, spec.window_tokens)
    return windows[:: spec.every].contiguous()


def _marked(windows: torch.Tensor, tokenizer: Any) -> torch.Tensor:
    """Windows of the same length as the tokenizer would mark texts; their last tokens give way."""
    before, after = (torch.tensor(t, dtype=torch.int64) for t in _special_tokens(tokenizer))
    kept = windows[:, : windows.shape[1] - len(before) - len(after)]
    start, end = (t.expand(len(windows), -1) for t in (before, after))
    return torch.cat([start, kept, end], dim=1)


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before a text and after it."""
    plain, marked = _tokenise(tokenizer, "a"), list(tokenizer("a", verbose=False)["input_ids"])
    places = range(len(marked) - len(plain) + 1)
    found = next((i for i in places if marked[i : i + len(plain)] == plain), None)
    if found is None:
        raise CalibrationError(
            f"the tokenizer makes {marked} of a text and {plain} without special tokens: which it "
            "puts around a text cannot be told"
        )
    return marked[:found], marked[found + len(plain) :]


def _described(spec: CalibrationSpec, tokens: torch.Tensor, content: bytes) -> CalibrationSet:
    description = {
        "source": spec.source,
        "sha256": hashlib.sha256(content).hexdigest(),  # of the text; of the tokens for `self`
        "windows": spec.window_count,
        "window_tokens": spec.window_tokens,
        "first_window": spec.first_window,
        "every": spec.every,
        "tokens": tokens.numel(),
        "seed": spec.seed,
    }
    return CalibrationSet(tokens, description)
