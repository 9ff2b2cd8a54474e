"""A program that chooses units from its prompt, as a runner in eager PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch.fx import GraphModule

from prunec.backends.torch.place import place
from prunec.passes.ir import DECODE, PREFILL, Program, Role, language_feeds
from prunec.passes.ir.chosen import require_choice
from prunec.passes.ir.run import arguments, next_cache, without_last

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class ExpertsCache:
    """What one step hands to the next.

    Attributes:
        past: Keys and values of earlier tokens, by input name.
        experts: The chosen parts of weights, by input name of decode.
        recent: [batch, tokens]: what was decoded since the whole model last ran.
    """

    past: Tensors
    experts: Tensors
    recent: torch.Tensor


class ExpertsRunner:
    """Run a prompt through the whole model, and what follows through the units that it chose.

    With `verify_every` the last tokens go through the whole model again, on a cache cut back to
    before them: their keys and values are corrected, and the step's logits are the whole
    model's. Source: Sirius (Zhou et al. 2024, arXiv 2409.03856); tokens that are out are not
    taken back here. With `refresh_every` these tokens choose the units anew as well.

    Args:
        program: With the entry points prefill and decode (`select-experts`).
        device: Where to run, for example ``cpu`` or ``cuda``.
        verify_every: After how many decoded tokens; never where None.
        refresh_every: Likewise.

    Raises:
        ProgramError: the program has other entry points.
        ValueError: both are given, or one is not positive.
    """

    def __init__(
        self,
        program: Program,
        device: str = "cpu",
        *,
        verify_every: int | None = None,
        refresh_every: int | None = None,
    ) -> None:
        require_choice(program)
        _require_period(verify_every, refresh_every)
        self.name = f"torch/{device}"
        self._device = torch.device(device)
        self._program = place(program, self._device)
        self._prefill = self._program.entries[PREFILL]
        self._decode = self._program.entries[DECODE]
        self._modules = {n: GraphModule({}, e.graph) for n, e in self._program.entries.items()}
        (logits,) = self._decode.ports(Role.LOGITS)[1]
        self._logits = logits.name
        self.vocabulary = int(logits.shape[-1])
        self._every = verify_every or refresh_every
        self._chooses_anew = refresh_every is not None

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: ExpertsCache | None
    ) -> tuple[torch.Tensor, ExpertsCache]:
        """See `prunec.backends.runner.Runner.step`.

        Raises:
            ValueError: the prompt is empty.
        """
        if cache is None:
            return self._choose(tokens, mask, None)
        recent = torch.cat([cache.recent, tokens.to(self._device)], dim=1)
        if self._every is not None and recent.shape[1] >= self._every:
            return self._verify(recent, tokens.shape[1], mask, cache)
        logits, past = self._run(DECODE, tokens, mask, {**cache.past, **cache.experts})[:2]
        return logits, replace(cache, past=past, recent=recent)

    def refresh(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: ExpertsCache
    ) -> tuple[torch.Tensor, ExpertsCache]:
        """Run new tokens through the whole model and let them choose the units for what follows.

        Args and results are those of `step`.
        """
        return self._choose(tokens, mask, cache.past)

    def _choose(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Tensors | None
    ) -> tuple[torch.Tensor, ExpertsCache]:
        if not tokens.shape[1]:
            raise ValueError("the prompt is empty: units are chosen by at least one token")
        logits, past, experts = self._run(PREFILL, tokens, mask, past)
        recent = torch.empty(len(tokens), 0, dtype=torch.int64, device=self._device)
        return logits, ExpertsCache(past, experts, recent)

    def _verify(
        self, recent: torch.Tensor, new: int, mask: torch.Tensor, cache: ExpertsCache
    ) -> tuple[torch.Tensor, ExpertsCache]:
        """Run recent tokens through the whole model in place of what decode made of them."""
        past = without_last(self._prefill, cache.past, recent.shape[1] - new)
        logits, after = self._choose(recent, mask, past)
        if not self._chooses_anew:
            after = replace(after, experts=cache.experts)
        return logits[:, -new:], after

    @torch.no_grad()
    def _run(
        self, name: str, tokens: torch.Tensor, mask: torch.Tensor, handed_on: Tensors | None
    ) -> tuple[torch.Tensor, Tensors, Tensors]:
        """Logits, cache, and what of the outputs are chosen units that decode reads."""
        entry = self._program.entries[name]
        tokens, mask = tokens.to(self._device), mask.to(self._device)
        feeds = language_feeds(entry, tokens, mask, handed_on)
        values = self._modules[name](*arguments(self._program, entry, feeds))
        outputs = dict(zip((p.name for p in entry.outputs), values, strict=True))
        wanted = [p.name for p in self._decode.ports(Role.EXPERTS)[0]]
        experts = {n: outputs[n] for n in wanted if n in outputs}
        return outputs[self._logits].float().cpu(), next_cache(entry, outputs), experts


def _require_period(verify_every: int | None, refresh_every: int | None) -> None:
    if verify_every is not None and refresh_every is not None:
        raise ValueError("refresh_every verifies as well: give one of it and verify_every")
    for name, every in (("verify_every", verify_every), ("refresh_every", refresh_every)):
        if every is not None and every < 1:
            raise ValueError(f"{name}={every}: at least one token lies between")
