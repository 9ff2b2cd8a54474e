"""Both engines of a program whose prompt chooses units as a runner on a GPU."""

from __future__ import annotations

from pathlib import Path

import torch

from prunec.backends.experts import ExpertsManifest, read_experts
from prunec.backends.experts_steps import ExpertsSteps
from prunec.backends.tensorrt.runner import TensorRTRunner
from prunec.passes.ir import DECODE, PREFILL, Role

Buffers = dict[str, torch.Tensor]
"""Tensors on the GPU by the name of the input that takes them."""


class ExpertsTensorRTRunner(ExpertsSteps):
    """Run a prompt through ``prefill.engine``, and what follows through ``decode.engine``.

    What the prompt chose stays in the buffers that prefill wrote: decode is given their addresses.

    Args:
        folder: Holds both engines, their manifests and ``experts.json``.
        verify_every: See `prunec.backends.experts_steps.ExpertsSteps`.
        refresh_every: Likewise.

    Raises:
        ExpertsError: the folder or its manifest is not what it must be.
        EngineError: an engine cannot be loaded here.
        ValueError: verify_every and refresh_every are both given, or one is not positive.
    """

    def __init__(
        self, folder: Path, *, verify_every: int | None = None, refresh_every: int | None = None
    ) -> None:
        folder = Path(folder)
        entries = _EngineEntries(folder, read_experts(folder))
        super().__init__(entries, verify_every, refresh_every)
        self.name = entries.name
        self.vocabulary = entries.vocabulary


class _EngineEntries:
    """Both engines; keys, values and experts are tensors on the GPU."""

    def __init__(self, folder: Path, manifest: ExpertsManifest) -> None:
        self._runners = {
            name: TensorRTRunner(folder / entry.file) for name, entry in manifest.entries.items()
        }
        self._experts = manifest.experts
        self._past_dims = {
            port.name: port.shape.index("past_sequence_length")
            for port in manifest.entries[DECODE].inputs
            if port.role is Role.CACHE
        }
        self.name = self._runners[DECODE].name
        self.vocabulary = self._runners[DECODE].vocabulary

    def prefill(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Buffers | None
    ) -> tuple[torch.Tensor, Buffers, Buffers]:
        """See `prunec.backends.experts_steps.Entries`."""
        logits, values = self._runners[PREFILL].step(tokens, mask, past)
        experts = {into: values[out] for out, into in self._experts.items()}
        return logits, {name: values[name] for name in self._past_dims}, experts

    def decode(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Buffers, experts: Buffers
    ) -> tuple[torch.Tensor, Buffers]:
        """See `prunec.backends.experts_steps.Entries`."""
        return self._runners[DECODE].step(tokens, mask, {**past, **experts})

    def without_last(self, past: Buffers, tokens: int) -> Buffers:
        """See `prunec.backends.experts_steps.Entries`."""
        return {
            name: value.narrow(dim, 0, value.shape[dim] - tokens)
            for name, value in past.items()
            for dim in [self._past_dims[name]]
        }

    def release_prefill(self) -> None:
        """See `prunec.backends.experts_steps.Entries`."""
        del self._runners[PREFILL]
