"""What a model reads and whether it writes, told by its class before anything is traced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prunec.frontend.tracing.architecture import model_class
from prunec.frontend.tracing.feeds import parameters

_READ = {
    "input_ids": "text",
    "bbox": "the layout of pages",
    "pixel_values": "images",
    "pixel_values_videos": "videos",
    "input_features": "sound",
    "input_values": "sound",
}
"""What the parameters of a forward give to a model."""


@dataclass(frozen=True)
class ModelKind:
    """What a class of transformers is for.

    Attributes:
        name: The class's.
        reads: ``text``, ``images``, ``sound`` and so on: all that it can be given.
        writes: Whether it generates text.
        has_decoder: Whether a decoder of its own reads what an encoder returns.
    """

    name: str
    reads: tuple[str, ...]
    writes: bool
    has_decoder: bool


def model_kind(config: Any) -> ModelKind:
    """What the model of a configuration is for.

    Args:
        config: The configuration (transformers).

    Raises:
        ExportError: transformers knows no model for it.
    """
    found = model_class(config)
    taken = parameters(found)
    read = dict.fromkeys(what for name, what in _READ.items() if name in taken)
    return ModelKind(
        found.__name__, tuple(read), bool(found.can_generate()), "decoder_input_ids" in taken
    )
