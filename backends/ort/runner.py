"""A decoder in an ONNX file as a runner in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from prunec.backends.ort.cache import Cache
from prunec.backends.ort.decoder import SessionOptions
from prunec.backends.ort.growing_decoder import open_decoder


class OrtRunner:
    """Step a decoder with ONNX Runtime; for its customary names see `OrtDecoder`.

    Args:
        path: The ONNX file.
        providers: Execution providers of ONNX Runtime, in order of preference; the CPU alone
            where not given.
        threads: Threads within an operator; ONNX Runtime's choice where not given.

    Raises:
        OrtError: the file or its weights are missing or damaged, or it is no decoder.
    """

    def __init__(
        self, path: Path, providers: Sequence[str] | None = None, threads: int | None = None
    ) -> None:
        options = SessionOptions(providers or ("CPUExecutionProvider",), threads)
        self._decoder = open_decoder(Path(path), options)
        self.name = f"onnxruntime/{self._decoder.provider}"
        self.vocabulary = self._decoder.vocabulary

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: Cache | None
    ) -> tuple[torch.Tensor, Cache]:
        """See `prunec.backends.runner.Runner.step`."""
        logits, cache, _ = self._decoder.run(tokens, mask, cache)
        return logits, cache
