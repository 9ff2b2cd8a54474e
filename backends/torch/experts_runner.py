"""A program that chooses units from its prompt, as a runner in eager PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch.fx import GraphModule

from prunec.backends.experts_steps import ExpertsSteps
from prunec.backends.torch.place import place
from prunec.passes.ir import DECODE, PREFILL, Program, Role, language_feeds
from prunec.passes.ir.chosen import require_choice
from prunec.passes.ir.run import arguments, next_cache, without_last

Tensors = Mapping[str, torch.Tensor]


class ExpertsRunner(ExpertsSteps):
    """Run a prompt through the whole model, and what follows through the units that it chose.

    Args:
        program: With the entry points prefill and decode (`select-experts`).
        device: Where to run, for example ``cpu`` or ``cuda``.
        verify_every: See `prunec.backends.experts_steps.ExpertsSteps`.
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
        self.name = f"torch/{device}"
        entries = _TorchEntries(program, torch.device(device))
        super().__init__(entries, verify_every, refresh_every)
        self.vocabulary = entries.vocabulary


class _TorchEntries:
    """Both entry points; keys, values and experts are tensors on the device."""

    def __init__(self, program: Program, device: torch.device) -> None:
        self._device = device
        self._program = place(program, device)
        self._modules = {n: GraphModule({}, e.graph) for n, e in self._program.entries.items()}
        decode = self._program.entries[DECODE]
        (logits,) = decode.ports(Role.LOGITS)[1]
        self._logits = logits.name
        self._experts = [port.name for port in decode.ports(Role.EXPERTS)[0]]
        self.vocabulary = int(logits.shape[-1])

    def prefill(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Tensors | None
    ) -> tuple[torch.Tensor, Tensors, Tensors]:
        """See `prunec.backends.experts_steps.Entries`."""
        outputs = self._run(PREFILL, tokens, mask, past)
        logits, past = self._results(PREFILL, outputs)
        return logits, past, {name: outputs[name] for name in self._experts}

    def decode(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Tensors, experts: Tensors
    ) -> tuple[torch.Tensor, Tensors]:
        """See `prunec.backends.experts_steps.Entries`."""
        return self._results(DECODE, self._run(DECODE, tokens, mask, {**past, **experts}))

    def without_last(self, past: Tensors, tokens: int) -> Tensors:
        """See `prunec.backends.experts_steps.Entries`."""
        return without_last(self._program.entries[PREFILL], past, tokens)

    def release_prefill(self) -> None:
        """See `prunec.backends.experts_steps.Entries`."""
        decode = self._program.entries[DECODE]
        weights = {name: self._program.weights[name] for _, name in decode.weight_nodes()}
        self._program = replace(self._program, entries={DECODE: decode}, weights=weights)
        del self._modules[PREFILL]

    @torch.no_grad()
    def _run(
        self, name: str, tokens: torch.Tensor, mask: torch.Tensor, handed_on: Tensors | None
    ) -> Tensors:
        """The outputs of an entry point by name."""
        entry = self._program.entries[name]
        tokens, mask = tokens.to(self._device), mask.to(self._device)
        feeds = language_feeds(entry, tokens, mask, handed_on)
        values = self._modules[name](*arguments(self._program, entry, feeds))
        return dict(zip((p.name for p in entry.outputs), values, strict=True))

    def _results(self, name: str, outputs: Tensors) -> tuple[torch.Tensor, Tensors]:
        logits = outputs[self._logits].float().cpu()
        return logits, next_cache(self._program.entries[name], outputs)
