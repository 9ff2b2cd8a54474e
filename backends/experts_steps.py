"""When a model whose prompt chooses units runs whole, and when with those units alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class ExpertsCache:
    """What one step hands to the next.

    Attributes:
        past: Keys and values of earlier tokens, by the name of the input that takes them.
        experts: The chosen parts of weights, by input name of decode.
        recent: [batch, tokens]: what was decoded since the whole model last ran.
    """

    past: Any
    experts: Any
    recent: torch.Tensor


class ReleasedError(Exception):
    """The whole model is needed and was released, or cannot be; the message says what to do."""


class Entries(Protocol):
    """Both entry points in some backend; keys, values and experts in whatever form it keeps."""

    def prefill(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Any | None
    ) -> tuple[torch.Tensor, Any, Any]:
        """Logits of new tokens by the whole model, the grown cache, and the units they choose."""

    def decode(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Any, experts: Any
    ) -> tuple[torch.Tensor, Any]:
        """Logits of new tokens by the chosen units, and the grown cache."""

    def without_last(self, past: Any, tokens: int) -> Any:
        """The cache as it was before the last tokens."""

    def release_prefill(self) -> None:
        """Let the whole model go."""


class ExpertsSteps:
    """Run a prompt through the whole model, and what follows through the units that it chose.

    With `verify_every` the last tokens go through the whole model again, on a cache cut back to
    before them: their keys and values are corrected, and the step's logits are the whole
    model's. Source: Sirius (Zhou et al. 2024, arXiv 2409.03856); tokens that are out are not
    taken back here. With `refresh_every` these tokens choose the units anew as well.

    The base of every backend's runner of such a model.

    Args:
        entries: What runs.
        verify_every: After how many decoded tokens; never where None.
        refresh_every: Likewise.

    Raises:
        ValueError: both are given, or one is not positive.
    """

    def __init__(
        self, entries: Entries, verify_every: int | None = None, refresh_every: int | None = None
    ) -> None:
        _require_period(verify_every, refresh_every)
        self._entries = entries
        self._every = verify_every or refresh_every
        self._chooses_anew = refresh_every is not None
        self._is_released = False

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: ExpertsCache | None
    ) -> tuple[torch.Tensor, ExpertsCache]:
        """See `prunec.backends.runner.Runner.step`.

        Raises:
            ValueError: the prompt is empty.
            ReleasedError: it is a prompt, and the whole model was released.
        """
        if cache is None:
            return self._choose(tokens, mask, None)
        recent = torch.cat([cache.recent, tokens.cpu()], dim=1)
        if self._every is not None and recent.shape[1] >= self._every:
            return self._verify(recent, tokens.shape[1], mask, cache)
        logits, past = self._entries.decode(tokens, mask, cache.past, cache.experts)
        return logits, replace(cache, past=past, recent=recent)

    def refresh(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: ExpertsCache
    ) -> tuple[torch.Tensor, ExpertsCache]:
        """Run new tokens through the whole model and let them choose the units for what follows.

        Args and results are those of `step`.
        """
        return self._choose(tokens, mask, cache.past)

    def release_prefill(self) -> None:
        """Let the whole model go: no further prompt will come, and its memory is free.

        That is complete when nothing else holds its weights, or the cache of its last prompt.

        Raises:
            ReleasedError: it will run again by `verify_every` or `refresh_every`.
        """
        if self._every is not None:
            raise ReleasedError(
                "verify_every and refresh_every run the whole model again: open the runner "
                "without them to release prefill"
            )
        self._is_released = True
        self._entries.release_prefill()

    def _choose(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Any | None
    ) -> tuple[torch.Tensor, ExpertsCache]:
        if not tokens.shape[1]:
            raise ValueError("the prompt is empty: units are chosen by at least one token")
        if self._is_released:
            raise ReleasedError(
                "prefill was released, and a prompt needs the whole model: open the runner again"
            )
        logits, past, experts = self._entries.prefill(tokens, mask, past)
        recent = torch.empty(len(tokens), 0, dtype=torch.int64)
        return logits, ExpertsCache(past, experts, recent)

    def _verify(
        self, recent: torch.Tensor, new: int, mask: torch.Tensor, cache: ExpertsCache
    ) -> tuple[torch.Tensor, ExpertsCache]:
        """Run recent tokens through the whole model in place of what decode made of them."""
        past = self._entries.without_last(cache.past, recent.shape[1] - new)
        logits, after = self._choose(recent, mask, past)
        if not self._chooses_anew:
            after = replace(after, experts=cache.experts)
        return logits[:, -new:], after


def _require_period(verify_every: int | None, refresh_every: int | None) -> None:
    if verify_every is not None and refresh_every is not None:
        raise ValueError("refresh_every verifies as well: give one of it and verify_every")
    for name, every in (("verify_every", verify_every), ("refresh_every", refresh_every)):
        if every is not None and every < 1:
            raise ValueError(f"{name}={every}: at least one token lies between")
