"""A decoder in an ONNX file as a runner in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from prunec.backends.ort.decoder import OrtDecoder, SessionOptions, Values


@dataclass(frozen=True)
class OrtCache:
    """Keys and values as the session returned them, under the names of its next inputs."""

    values: Values


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
        self._decoder = OrtDecoder(Path(path), options)
        self.name = f"onnxruntime/{self._decoder.provider}"
        self.vocabulary = self._decoder.vocabulary

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: OrtCache | None
    ) -> tuple[torch.Tensor, OrtCache]:
        """See `prunec.backends.runner.Runner.step`."""
        past = None if cache is None else cache.values
        logits, values, _ = self._decoder.run(tokens, mask, past)
        return logits, OrtCache(values)
