"""Blocks that random programs are made from, in the forms in which exports write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType

from support.blocks import attention, experts, feed_forward, images, mixing, streams
from support.blocks.streams import Stream
from support.builder import Block

_FEED_FORWARDS = ("plain", "gated", "fused", "joined", "stacked", "repeated")
_MIXERS = (
    "positions",
    "pooled",
    "convolved",
    "with_class",
    "tied",
    "transposed",
    "recurrent",
    "stepping",
)
_IMAGE_BLOCKS = ("bottleneck", "excited", "separable", "grown", "shuffled", "attended", "volume")


def _named(prefix: str, module: ModuleType, names: Sequence[str]) -> dict[str, Block]:
    return {f"{prefix}{name}": getattr(module, name) for name in names}


STREAMS: Mapping[str, Stream] = {
    "tokens": Stream(
        streams.start_tokens,
        streams.join_tokens,
        streams.end_tokens,
        {
            **_named("ffn_", feed_forward, _FEED_FORWARDS),
            **_named("attention_", attention, ("plain", "grouped", "compressed")),
            **_named("experts_", experts, ("gathered", "dense")),
            **_named("", mixing, _MIXERS),
        },
    ),
    "image": Stream(
        streams.start_image,
        streams.join_image,
        streams.end_image,
        _named("", images, _IMAGE_BLOCKS),
    ),
}
