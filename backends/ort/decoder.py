"""A decoder in an ONNX file as a session of ONNX Runtime, its values bound where they are."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch

from prunec.backends.ort.binding import Binding, Feeds
from prunec.backends.ort.cache import Cache, Values

TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
"""The element types that can be fed, by ONNX Runtime's name."""

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


class OrtError(Exception):
    """A file cannot be run as a decoder in ONNX Runtime; the message says why."""


@dataclass(frozen=True)
class SessionOptions:
    """How to open a file.

    Attributes:
        providers: Execution providers of ONNX Runtime, in order of preference.
        threads: Threads within an operator; ONNX Runtime's choice where None.
        pack_weights: Whether to keep a copy of each matrix in the order that kernels read
            fastest. Without, weights stay in the file, mapped into memory once however many
            sessions read them. On SmolLM2-135M packing made steps a twentieth faster.
    """

    providers: Sequence[str] = ("CPUExecutionProvider",)
    threads: int | None = None
    pack_weights: bool = True


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
        if value.type not in TYPES:
            raise OrtError(f"{path}: a cache of {value.type} cannot be fed; known: {list(TYPES)}")
        return cls(heads, width, TYPES[value.type])


def _head_width(config: Path) -> int | None:
    if not config.is_file():
        return None
    return int(json.loads(config.read_text())["model"]["decoder"]["head_size"])


class OrtDecoder:
    """One file that steps a language model.

    Every step copies keys and values to a longer cache; see
    `prunec.backends.ort.growing_decoder` for one that does not.

    Args:
        path: The ONNX file, with the customary names: ``input_ids``, ``attention_mask``,
            ``past_key_values.N.key|value`` in, ``logits``, ``present.N.key|value`` out, and
            ``position_ids`` if it wants them.
        options: How to open it.
        handed_on: Further inputs, which the caller gives at every step.
        model: What to open in place of what the file holds; its weights lie beside the file.

    Attributes:
        provider: ``cpu``, ``cuda`` or another, in lower case.
        device: Where values stay between steps.
        vocabulary: How many tokens there are.

    Raises:
        OrtError: the file or its weights are missing or damaged, or it is no decoder.
    """

    def __init__(
        self,
        path: Path,
        options: SessionOptions,
        handed_on: Collection[str] = (),
        model: ir.Model | None = None,
    ) -> None:
        self._session = open_session(path, options, model)
        provider = self._session.get_providers()[0]
        self.provider = provider.removesuffix("ExecutionProvider").lower()
        self.device = "cpu" if self.provider == "cpu" else "cuda"
        inputs = {i.name: i for i in self._session.get_inputs()}
        outputs = {o.name: o for o in self._session.get_outputs()}
        _require_decoder(path, inputs, outputs, handed_on)
        self._past = {
            name: _CacheInput.of(path, value)
            for name, value in inputs.items()
            if name.startswith("past_key_values.")
        }
        self._feed_types = {
            name: TYPES[value.type]
            for name, value in inputs.items()
            if name not in self._past and name not in handed_on
        }
        self._outputs = list(outputs)
        self.vocabulary = int(outputs["logits"].shape[-1])

    def run(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        past: Cache | None,
        *,
        handed_on: Values | None = None,
    ) -> tuple[torch.Tensor, Cache, Values]:
        """Process new tokens.

        Args:
            tokens: [batch, new], int64.
            mask: [batch, past + new], int64.
            past: Keys and values; empty ones where None.
            handed_on: The further inputs.

        Returns:
            Logits, [batch, new, vocabulary], float32, keys and values for the next step, and
            further outputs by their names.
        """
        past = past or self._empty(len(tokens))
        values = self._bind(past.exact(), handed_on).run(self._feeds(tokens, mask))
        cache = {name: values.pop(_present(name)) for name in self._past}
        return take_logits(values), Cache.full(cache), values

    def _bind(
        self, cache: Values, handed_on: Values | None, in_place: Values | None = None
    ) -> Binding:
        outputs = {_present(name): value for name, value in (in_place or {}).items()}
        fresh = [name for name in self._outputs if name not in outputs]
        return Binding(self._session, cache, handed_on, outputs, fresh, self.device)

    def _feeds(self, tokens: torch.Tensor, mask: torch.Tensor) -> Feeds:
        feeds = {"input_ids": tokens, "attention_mask": mask}
        if "position_ids" in self._feed_types:
            feeds["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        return {
            name: np.ascontiguousarray(feeds[name].cpu().numpy().astype(dtype, copy=False))
            for name, dtype in self._feed_types.items()
        }

    def _empty(self, batch: int) -> Cache:
        values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(
                np.zeros((batch, i.heads, 0, i.width), dtype=i.dtype), self.device
            )
            for name, i in self._past.items()
        }
        return Cache.full(values)


def load_model(path: Path) -> ir.Model:
    """What a file holds, its weights left where they are.

    Raises:
        OrtError: the file is missing or damaged.
    """
    if not path.is_file():
        raise OrtError(f"no ONNX file at {path}")
    try:
        return ir.load(path)
    except Exception as error:  # of protobuf and of the file system
        raise OrtError(f"{path} cannot be read as an ONNX file: {error}") from error


def open_session(path: Path, options: SessionOptions, model: ir.Model | None = None) -> Any:
    """A session for a file, or for a model whose weights lie beside that file.

    Raises:
        OrtError: the file or its weights are missing or damaged.
    """
    if not path.is_file():
        raise OrtError(f"no ONNX file at {path}")
    available = onnxruntime.get_available_providers()
    unknown = [p for p in options.providers if p not in available]
    if unknown:
        raise OrtError(f"this ONNX Runtime has no {unknown}; it has {available}")
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # warnings tell of nodes that it leaves on the CPU on purpose
    # Each session has threads of its own; without this they spin in the way of the next session's.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    if options.threads is not None:
        settings.intra_op_num_threads = options.threads
    disabled = []
    if not options.pack_weights:
        settings.add_session_config_entry("session.disable_prepacking", "1")
        disabled = ["ConstantFolding"]  # it would copy every transposed weight
    source: Path | bytes = path
    if model is not None:
        source = ir.to_proto(model).SerializeToString()
        folder = str(path.parent.resolve())
        settings.add_session_config_entry(_WEIGHTS_FOLDER, folder)
    try:
        return onnxruntime.InferenceSession(
            source, settings, providers=list(options.providers), disabled_optimizers=disabled
        )
    except Exception as error:  # its exceptions share no base class of their own
        reason = str(error).strip().splitlines()[0]
        raise OrtError(f"ONNX Runtime cannot open {path}: {reason}") from error


def _require_decoder(
    path: Path, inputs: Values, outputs: Values, handed_on: Collection[str]
) -> None:
    past = [name for name in inputs if name.startswith("past_key_values.")]
    wanted = {"input_ids", "attention_mask", *past, *handed_on}
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


def take_logits(values: dict[str, Any]) -> torch.Tensor:
    """Take them out of what a run returned."""
    return torch.from_numpy(values.pop("logits").numpy()).float()


def _present(name: str) -> str:
    return name.replace("past_key_values.", "present.", 1)
