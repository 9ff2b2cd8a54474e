"""A folder whose prompt chooses units (`export_experts`) as a runner in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from prunec.backends.experts import ExpertsManifest, read_experts
from prunec.backends.experts_steps import ExpertsSteps
from prunec.backends.ort.cache import Cache, Values
from prunec.backends.ort.decoder import (
    OrtDecoder,
    SessionOptions,
    load_model,
    open_session,
)
from prunec.backends.ort.experts_memory import Experts, ExpertsMemory
from prunec.backends.ort.growing_decoder import open_decoder
from prunec.backends.ort.split_choice import split_choice
from prunec.passes.ir import DECODE, PREFILL


class ExpertsOrtRunner(ExpertsSteps):
    """Run a prompt through ``prefill.onnx``, and what follows through ``decode.onnx``.

    The first token does not wait for the choice: what prefill does behind the sums over the
    prompt, it does when the second is asked for.

    What the prompt chose is written where it stays: every decoded token reads the same memory, on
    the GPU where that is the provider. A later prompt writes to it again once the cache is dropped.

    Args:
        folder: Holds both files and ``experts.json``.
        providers: Execution providers of ONNX Runtime, in order of preference; the CPU alone
            where not given.
        threads: Threads within an operator; ONNX Runtime's choice where not given.
        pack_weights: See `SessionOptions`. Without, what both files read is in memory once.
        verify_every: See `prunec.backends.experts_steps.ExpertsSteps`.
        refresh_every: Likewise.

    Raises:
        ExpertsError: the folder or its manifest is not what it must be.
        OrtError: a model cannot be opened.
        ValueError: verify_every and refresh_every are both given, or one is not positive.
    """

    def __init__(
        self,
        folder: Path,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        *,
        pack_weights: bool = True,
        verify_every: int | None = None,
        refresh_every: int | None = None,
    ) -> None:
        folder = Path(folder)
        manifest = read_experts(folder)
        options = SessionOptions(providers or ("CPUExecutionProvider",), threads, pack_weights)
        entries = _OrtEntries(folder, manifest, options)
        super().__init__(entries, verify_every, refresh_every)
        self.name = f"onnxruntime/{entries.provider}"
        self.vocabulary = entries.vocabulary


class _OrtEntries:
    """Both files; keys, values and experts are values of ONNX Runtime on its device."""

    def __init__(self, folder: Path, manifest: ExpertsManifest, options: SessionOptions) -> None:
        paths = {name: folder / entry.file for name, entry in manifest.entries.items()}
        self._outputs = {name: output for output, name in manifest.experts.items()}
        self._decode = open_decoder(paths[DECODE], options, self._outputs.keys())
        self._prefill: OrtDecoder | None
        self._prefill, self._choice = _open_prefill(paths[PREFILL], manifest, options)
        self._ports = [p for p in manifest.entries[DECODE].inputs if p.name in self._outputs]
        self._memory = ExpertsMemory(self._allocate)
        self.provider = self._decode.provider
        self.vocabulary = self._decode.vocabulary

    def prefill(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Cache | None
    ) -> tuple[torch.Tensor, Cache, Values]:
        """See `prunec.backends.experts_steps.Entries`; what is chosen is gathered for decode."""
        assert self._prefill is not None, "not asked for once it is released"
        logits, past, sums = self._prefill.run(tokens, mask, past)
        gather = partial(self._gather, self._choice, sums, len(tokens))
        return logits, past, Experts(self._outputs, gather)

    def decode(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Cache, experts: Values
    ) -> tuple[torch.Tensor, Cache]:
        """See `prunec.backends.experts_steps.Entries`."""
        logits, past, _ = self._decode.run(tokens, mask, past, handed_on=experts)
        return logits, past

    def without_last(self, past: Cache, tokens: int) -> Cache:
        """See `prunec.backends.experts_steps.Entries`; copies nothing yet."""
        return past.without_last(tokens)

    def release_prefill(self) -> None:
        """See `prunec.backends.experts_steps.Entries`."""
        self._prefill = self._choice = None
        self._memory.close()

    def _gather(self, choice: Any, sums: Values, batch: int, holder: Experts) -> Values:
        # Outputs that a session allocates keep the session itself in memory for as long as they.
        experts = self._memory.lend(batch, holder)
        binding = choice.io_binding()
        for name, value in sums.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in experts.items():
            binding.bind_ortvalue_output(self._outputs[name], value)
        choice.run_with_iobinding(binding)
        return experts

    def _allocate(self, batch: int) -> dict[str, Any]:
        found = {}
        for port in self._ports:
            shape = [size if isinstance(size, int) else batch for size in port.shape]
            dtype = torch.empty((), dtype=port.dtype).numpy().dtype
            found[port.name] = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                shape, dtype, self._decode.device, 0
            )
        return found


def _open_prefill(
    path: Path, manifest: ExpertsManifest, options: SessionOptions
) -> tuple[OrtDecoder, Any]:
    """The whole model, and what chooses by the sums that it returns: sessions over one file."""
    model = load_model(path)
    first = ["logits", *manifest.cache]
    whole, choice = split_choice(model, first, list(manifest.experts))
    return open_decoder(path, options, model=whole), open_session(path, options, choice)
