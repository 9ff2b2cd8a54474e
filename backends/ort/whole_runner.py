"""An ONNX file that reads texts whole, as a runner in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from prunec.backends.ort.decoder import TYPES, OrtError, SessionOptions, load_model, open_session
from prunec.backends.whole_runner import output_named
from prunec.passes.ir.run import positions

_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


class OrtWholeRunner:
    """Run an encoder or a classifier with ONNX Runtime.

    Args:
        path: The ONNX file, with the customary names of inputs; outputs of logits are called
            ``logits`` or end in ``_logits``.
        providers: Execution providers of ONNX Runtime, in order of preference; the CPU alone
            where not given.

    Raises:
        OrtError: the file or its weights are missing or damaged, or text alone cannot run it.
    """

    def __init__(self, path: Path, providers: Sequence[str] | None = None) -> None:
        options = SessionOptions(providers or ("CPUExecutionProvider",))
        self._session = open_session(path, options)
        provider = self._session.get_providers()[0]
        self.name = f"onnxruntime/{provider.removesuffix('ExecutionProvider').lower()}"
        self._types = {i.name: TYPES.get(i.type) for i in self._session.get_inputs()}
        unknown = sorted(n for n, t in self._types.items() if n not in _INPUTS or t is None)
        if unknown or "input_ids" not in self._types:
            raise OrtError(
                f"{path} is no model of text alone: it takes {sorted(self._types)}, and what can "
                f"be fed is {list(_INPUTS)}"
            )
        self.vocabulary: int | None = None  # no output tells it
        self.outputs = tuple(
            output_named(o.name, tuple(o.shape)) for o in self._session.get_outputs()
        )

    def run(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `prunec.backends.whole_runner.WholeRunner.run`."""
        segments = torch.zeros_like(tokens)
        given = dict(zip(_INPUTS, (tokens, mask, segments, positions(mask)), strict=True))
        feeds = {
            name: np.ascontiguousarray(given[name].cpu().numpy().astype(kind, copy=False))
            for name, kind in self._types.items()
        }
        names = [output.name for output in self.outputs]
        values = self._session.run(names, feeds)
        return {n: torch.from_numpy(v).float() for n, v in zip(names, values, strict=True)}


def keeps_cache(path: Path) -> bool:
    """Whether an ONNX file takes keys and values of earlier tokens.

    Raises:
        OrtError: the file is missing or damaged.
    """
    names = [str(value.name) for value in load_model(path).graph.inputs]
    return any(name.startswith("past_key_values.") for name in names)
