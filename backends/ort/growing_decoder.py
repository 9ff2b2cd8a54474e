"""A decoder in ONNX Runtime whose cache has room for more tokens and grows where it is."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx_ir as ir
import torch

from prunec.backends.ort.binding import Binding
from prunec.backends.ort.cache import Cache, Memory, Values
from prunec.backends.ort.decoder import OrtDecoder, SessionOptions, load_model, take_logits
from prunec.backends.ort.grow_in_place import grow_in_place


class GrowingDecoder(OrtDecoder):
    """One file that steps a language model and writes keys and values where they stay.

    Several tokens of several sequences after a cache, which its kernel does not take, go through
    the model as it was before, opened when they come.

    Args:
        path: See `OrtDecoder`.
        options: Likewise.
        handed_on: Likewise.
        model: Changed by `prunec.backends.ort.grow_in_place`.
        plain: The same before.
    """

    def __init__(
        self,
        path: Path,
        options: SessionOptions,
        handed_on: Collection[str],
        model: ir.Model,
        plain: ir.Model,
    ) -> None:
        super().__init__(path, options, handed_on, model)
        self._plain = (path, options, handed_on, plain)
        self._copying: OrtDecoder | None = None

    def run(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        past: Cache | None,
        *,
        handed_on: Values | None = None,
    ) -> tuple[torch.Tensor, Cache, Values]:
        """See `OrtDecoder.run`."""
        batch, new = tokens.shape
        past = past or self._empty(batch)
        if past.tokens and batch > 1 and new > 1:
            self._copying = self._copying or OrtDecoder(*self._plain)
            return self._copying.run(tokens, mask, past, handed_on=handed_on)
        grown = past.grown(new)
        binding = self._bind_memory(grown.memory, handed_on)
        values = binding.run(self._feeds(tokens, mask))
        return take_logits(values), grown, values

    def _bind_memory(self, memory: Memory, handed_on: Values | None) -> Binding:
        """Bound once for all steps that write to a memory with the same values handed on."""
        bound: Binding | None = memory.bound
        if bound is None or not bound.serves(self._session, handed_on):
            bound = memory.bound = self._bind(memory.values, handed_on, memory.values)
        return bound


def open_decoder(
    path: Path,
    options: SessionOptions,
    handed_on: Collection[str] = (),
    model: ir.Model | None = None,
) -> OrtDecoder:
    """A decoder whose cache grows in place wherever ONNX Runtime's kernels for the CPU can.

    Args and errors are those of `OrtDecoder`.
    """
    if list(options.providers)[:1] != ["CPUExecutionProvider"]:
        return OrtDecoder(path, options, handed_on, model)
    plain = load_model(path) if model is None else model
    growing = plain.clone()
    if not grow_in_place(growing):
        return OrtDecoder(path, options, handed_on, model)
    return GrowingDecoder(path, options, handed_on, growing, plain)
