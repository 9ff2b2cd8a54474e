"""Which inputs a model of transformers takes: ports, and example tensors to trace it on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.export import Dim

from prunec.frontend.tracing.errors import ExportError
from prunec.frontend.tracing.ports import role_of
from prunec.passes.ir import Port
from prunec.passes.ir.program import Size

EXAMPLES = {
    "batch_size": 3,
    "image_batch_size": 3,  # some models want an image for each text
    "sequence_length": 5,
    "past_sequence_length": 7,
    "total_sequence_length": 12,
    "decoder_sequence_length": 6,
    "sample_count": 1600,
}
"""Sizes to trace with: distinct as a rule, and none that a size of the model is likely to have."""
_IMAGE_SIZE = 224
"""Pixels along each side where a configuration names none; what most of them were trained on."""

TEXT = "text"
"""The part of a model that text alone reaches."""
TEXT_INPUTS = {
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "position_ids",
    "decoder_input_ids",
}
"""Inputs that are text, or say where in it."""

Shape = tuple[Size, ...]


def step_ports(model: Any, cache_shapes: Sequence[tuple[int, int]]) -> list[Port]:
    """Inputs of one step of a decoder: tokens, and the cache of the tokens before them.

    Args:
        model: A model of transformers.
        cache_shapes: Heads and width of each key and value, in layer order.
    """
    step: Shape = ("batch_size", "sequence_length")
    ports = [
        _port("input_ids", step),
        _port("attention_mask", ("batch_size", "total_sequence_length")),
    ]
    if "position_ids" in parameters(model):
        ports.append(_port("position_ids", step))
    for index, (heads, width) in enumerate(cache_shapes):
        name = f"past_key_values.{index // 2}.{('key', 'value')[index % 2]}"
        shape = ("batch_size", heads, "past_sequence_length", width)
        ports.append(_port(name, shape, model.dtype))
    return ports


def whole_ports(model: Any, part: str | None = None) -> list[Port]:
    """Inputs of a model that is run once on all that it is given.

    Args:
        model: A model of transformers.
        part: `TEXT` where it is to be given text only.

    Raises:
        ExportError: it wants an input whose shape the configuration does not tell.
    """
    taken = parameters(model)
    known = {n: s for n, s in _SHAPES.items() if part is None or n in TEXT_INPUTS}
    shapes = {name: shape for name, shape in known.items() if name in taken}
    if "input_ids" not in shapes:
        shapes = {n: s for n, s in shapes.items() if n not in ("attention_mask", "token_type_ids")}
    elif (_find(model.config, "type_vocab_size") or 1) < 2:
        shapes.pop("token_type_ids", None)
    unknown = [n for n, p in taken.items() if p.default is p.empty and n not in shapes]
    if unknown or not shapes:
        raise ExportError(
            f"{type(model).__name__} takes {unknown or list(taken)}; known are {list(_SHAPES)}",
            in_python="Give it example inputs with trace_module",
        )
    ports = [
        _port(name, shape(model.config), torch.int64 if _is_text(name) else model.dtype)
        for name, shape in shapes.items()
    ]
    return [_beside_text(port) for port in ports] if "input_ids" in shapes else ports


def parameters(model: Any) -> Mapping[str, inspect.Parameter]:
    """What the model's forward takes by name."""
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    try:
        found = inspect.signature(model.forward, eval_str=True).parameters
    except NameError:  # an annotation in quotes that only a type checker can read
        found = inspect.signature(model.forward).parameters
    return {name: p for name, p in found.items() if p.kind not in variadic}


def example(port: Port) -> torch.Tensor:
    """A tensor to trace on: every token real, every value zero."""
    shape = [EXAMPLES[size] if isinstance(size, str) else size for size in port.shape]
    fill = torch.ones if port.name == "attention_mask" else torch.zeros
    return fill(shape, dtype=port.dtype)


def dynamic_sizes(port: Port) -> dict[int, Any]:
    """Which sizes of the input stay open, as torch.export takes it."""
    labelled = {dim: size for dim, size in enumerate(port.shape) if isinstance(size, str)}
    return {
        # Encoders of raw sound may need a whole number of windows.
        dim: Dim.AUTO if label == "sample_count" else Dim.DYNAMIC
        for dim, label in labelled.items()
    }


def _port(name: str, shape: Shape, dtype: torch.dtype = torch.int64) -> Port:
    return Port(name, role_of(name), shape, dtype)


def _is_text(name: str) -> bool:
    return name.endswith(("_ids", "_mask"))


def _beside_text(port: Port) -> Port:
    """An image or sound beside a text need not be one for each text."""
    if _is_text(port.name):
        return port
    return Port(port.name, port.role, ("image_batch_size", *port.shape[1:]), port.dtype)


def _find(config: Any, name: str) -> Any:
    """An attribute of the configuration, or of the first part of it that has it."""
    return next((v for v in values_of(config, name) if v is not None), None)


def values_of(config: Any, name: str) -> Iterator[Any]:
    """An attribute of the configuration and of all its parts; None where there is none."""
    yield getattr(config, name, None)
    for part in config.sub_configs:
        if getattr(config, part, None) is not None:
            yield from values_of(getattr(config, part), name)


def _tokens(config: Any) -> Shape:
    return "batch_size", "sequence_length"


def _decoder_tokens(config: Any) -> Shape:
    return "batch_size", "decoder_sequence_length"


def _image(config: Any) -> Shape:
    size = _find(config, "image_size") or _IMAGE_SIZE
    height, width = (size, size) if isinstance(size, int) else size
    return "batch_size", _find(config, "num_channels") or 3, height, width


def _spectrogram(config: Any) -> Shape:
    if _find(config, "input_feat_per_channel"):
        return "batch_size", _find(config, "max_source_positions"), config.input_feat_per_channel
    # Two frames for each position: the stem of such encoders halves the time axis.
    return "batch_size", _find(config, "num_mel_bins"), 2 * _find(config, "max_source_positions")


def _sound(config: Any) -> Shape:
    if _find(config, "num_mel_bins"):
        return "batch_size", _find(config, "max_length"), _find(config, "num_mel_bins")
    return "batch_size", "sample_count"


_SHAPES: dict[str, Callable[[Any], Shape]] = {
    "input_ids": _tokens,
    "attention_mask": _tokens,
    "token_type_ids": _tokens,
    "pixel_values": _image,
    "input_features": _spectrogram,
    "input_values": _sound,
    "decoder_input_ids": _decoder_tokens,
}
"""Inputs by name, in the order of the ports; each takes its sizes from the configuration."""
