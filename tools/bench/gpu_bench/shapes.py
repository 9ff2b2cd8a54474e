"""Sizes of the random models that the benches on a GPU run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """A configuration of transformers.

    Attributes:
        configuration: Its class there, which says what architecture it is.
        options: By the configuration's own names.
        is_for_cpu: Whether float32 weights and runs on the CPU are affordable.
    """

    configuration: str
    options: dict[str, Any]
    is_for_cpu: bool = True

    def config(self) -> Any:
        """The configuration."""
        import transformers

        return getattr(transformers, self.configuration)(**self.options)


_TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}

SHAPES = {
    "tiny": Shape("LlamaConfig", _TINY),
    "tiny-gelu": Shape("GemmaConfig", _TINY),
    "smollm2-135m": Shape(
        "LlamaConfig",
        {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "vocab_size": 49152,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
        },
    ),
    "llama-1b": Shape(
        "LlamaConfig",
        {
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "vocab_size": 128256,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
        },
    ),
    "gemma-7b": Shape(
        "GemmaConfig",
        {
            "hidden_size": 3072,
            "intermediate_size": 24576,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "head_dim": 256,
            "vocab_size": 256000,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
        },
        is_for_cpu=False,
    ),
    "llama-2-13b": Shape(
        "LlamaConfig",
        {
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
            "num_key_value_heads": 40,
            "vocab_size": 32000,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
        },
        is_for_cpu=False,
    ),
}


def require_shape(name: str) -> Shape:
    """The shape of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in SHAPES:
        raise ValueError(f"no shape {name!r}; there are {sorted(SHAPES)}")
    return SHAPES[name]
