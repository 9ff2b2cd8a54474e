"""A folder whose prompt chooses units (`export_experts`) as a runner in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from prunec.backends.experts import ExpertsManifest, read_experts
from prunec.backends.experts_steps import ExpertsSteps
from prunec.backends.ort.decoder import OrtDecoder, SessionOptions, Values
from prunec.passes.ir import DECODE, PREFILL, Port, Role


class ExpertsOrtRunner(ExpertsSteps):
    """Run a prompt through ``prefill.onnx``, and what follows through ``decode.onnx``.

    What the prompt chose is written where it stays: every decoded token reads the same memory, on
    the GPU where that is the provider.

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
        self._prefill: OrtDecoder | None = OrtDecoder(paths[PREFILL], options)
        self._decode = OrtDecoder(paths[DECODE], options, set(manifest.experts.values()))
        self._ports = [p for p in manifest.entries[PREFILL].outputs if p.name in manifest.experts]
        self._inputs = manifest.experts
        self._past_dims = {
            port.name: port.shape.index("past_sequence_length")
            for port in manifest.entries[DECODE].inputs
            if port.role is Role.CACHE
        }
        self.provider = self._decode.provider
        self.vocabulary = self._decode.vocabulary

    def prefill(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Values | None
    ) -> tuple[torch.Tensor, Values, Values]:
        """See `prunec.backends.experts_steps.Entries`."""
        assert self._prefill is not None, "not asked for once it is released"
        # Outputs that a session allocates keep the session itself in memory for as long as they.
        experts = {port.name: self._allocate(port, len(tokens)) for port in self._ports}
        logits, past = self._prefill.run(tokens, mask, past, into=experts)
        return logits, past, {self._inputs[name]: value for name, value in experts.items()}

    def decode(
        self, tokens: torch.Tensor, mask: torch.Tensor, past: Values, experts: Values
    ) -> tuple[torch.Tensor, Values]:
        """See `prunec.backends.experts_steps.Entries`."""
        return self._decode.run(tokens, mask, past, handed_on=experts)

    def without_last(self, past: Values, tokens: int) -> Values:
        """See `prunec.backends.experts_steps.Entries`; copies what stays."""
        return {name: self._shortened(name, value, tokens) for name, value in past.items()}

    def release_prefill(self) -> None:
        """See `prunec.backends.experts_steps.Entries`."""
        self._prefill = None

    def _allocate(self, port: Port, batch: int) -> Any:
        shape = [size if isinstance(size, int) else batch for size in port.shape]
        dtype = torch.empty((), dtype=port.dtype).numpy().dtype
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            shape, dtype, self._decode.device, 0
        )

    def _shortened(self, name: str, value: Any, tokens: int) -> Any:
        array = value.numpy()
        dim = self._past_dims[name]
        kept = np.ascontiguousarray(array.take(range(array.shape[dim] - tokens), axis=dim))
        return onnxruntime.OrtValue.ortvalue_from_numpy(kept, self._decode.device, 0)
