"""A decoder in an ONNX file as a runner in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class OrtError(Exception):
    """A file cannot be run as a decoder in ONNX Runtime; the message says why."""


@dataclass(frozen=True)
class OrtCache:
    """Keys and values as the session returned them, under the names of its next inputs."""

    values: Mapping[str, Any]


@dataclass(frozen=True)
class _CacheInput:
    """The static facts about one input of earlier keys or values."""

    heads: int
    width: int
    dtype: type[np.generic]

    @classmethod
    def of(cls, path: Path, value: Any) -> _CacheInput:
        """Read them off the model; a width that it leaves open stands in ``genai_config.json``."""
        _, heads, _, width = value.shape
        if isinstance(width, str):
            width = _head_width(path.with_name("genai_config.json"))
        if not isinstance(heads, int) or width is None:
            raise OrtError(f"{path}: the shape of {value.name}, {value.shape}, must be static")
        if value.type not in _TYPES:
            raise OrtError(f"{path}: a cache of {value.type} cannot be fed; known: {list(_TYPES)}")
        return cls(heads, width, _TYPES[value.type])


def _head_width(config: Path) -> int | None:
    if not config.is_file():
        return None
    return int(json.loads(config.read_text())["model"]["decoder"]["head_size"])


class OrtRunner:
    """Step a decoder with ONNX Runtime.

    Takes any decoder with the customary names: ``input_ids``, ``attention_mask``,
    ``past_key_values.N.key|value`` in, ``logits``, ``present.N.key|value`` out, and
    ``position_ids`` if it wants them.

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
        self._session = _open_session(Path(path), providers or ["CPUExecutionProvider"], threads)
        provider = self._session.get_providers()[0].removesuffix("ExecutionProvider").lower()
        self.name = f"onnxruntime/{provider}"
        self._device = "cpu" if provider == "cpu" else "cuda"
        inputs = {i.name: i for i in self._session.get_inputs()}
        outputs = {o.name: o for o in self._session.get_outputs()}
        _require_decoder(Path(path), inputs, outputs)
        self._past = {
            name: _CacheInput.of(Path(path), value)
            for name, value in inputs.items()
            if name.startswith("past_key_values.")
        }
        self._feed_types = {n: _TYPES[i.type] for n, i in inputs.items() if n not in self._past}
        self._outputs = list(outputs)
        self.vocabulary = int(outputs["logits"].shape[-1])

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: OrtCache | None
    ) -> tuple[torch.Tensor, OrtCache]:
        """See `prunec.backends.runner.Runner.step`."""
        batch, new = tokens.shape
        past = self._empty(batch) if cache is None else cache.values
        binding = self._session.io_binding()
        feeds = {"input_ids": tokens, "attention_mask": mask}
        if "position_ids" in self._feed_types:
            feeds["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)[:, -new:]
        for name, dtype in self._feed_types.items():
            array = feeds[name].cpu().numpy().astype(dtype, copy=False)
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name, value in past.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, "cpu" if name == "logits" else self._device)
        self._session.run_with_iobinding(binding)
        values = dict(zip(self._outputs, binding.get_outputs(), strict=True))
        logits = torch.from_numpy(values["logits"].numpy()).float()
        return logits, OrtCache({name: values[_present(name)] for name in self._past})

    def _empty(self, batch: int) -> dict[str, Any]:
        return {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(
                np.zeros((batch, i.heads, 0, i.width), dtype=i.dtype), self._device
            )
            for name, i in self._past.items()
        }


def _open_session(path: Path, providers: Sequence[str], threads: int | None) -> Any:
    if not path.is_file():
        raise OrtError(f"no ONNX file at {path}")
    available = onnxruntime.get_available_providers()
    unknown = [p for p in providers if p not in available]
    if unknown:
        raise OrtError(f"this ONNX Runtime has no {unknown}; it has {available}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings tell of nodes that it leaves on the CPU on purpose
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=list(providers))
    except Exception as error:  # its exceptions share no base class of their own
        reason = str(error).strip().splitlines()[0]
        raise OrtError(f"ONNX Runtime cannot open {path}: {reason}") from error


def _require_decoder(path: Path, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    past = [name for name in inputs if name.startswith("past_key_values.")]
    wanted = {"input_ids", "attention_mask", *past}
    missing = sorted(wanted - set(inputs))
    missing += sorted({"logits", *map(_present, past)} - set(outputs))
    if missing or not past:
        raise OrtError(
            f"{path} is no decoder with a cache: it lacks {missing or 'past_key_values.N.key'}; "
            f"inputs {sorted(inputs)[:4]}, outputs {sorted(outputs)[:4]}"
        )
    unknown = sorted(set(inputs) - wanted - {"position_ids"})
    if unknown:
        raise OrtError(f"{path} wants inputs that no decoder step has: {unknown}")


def _present(name: str) -> str:
    return name.replace("past_key_values.", "present.", 1)
