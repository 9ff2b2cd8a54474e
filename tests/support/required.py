"""Which architectures every run of the tests tries; the others are slow together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

REQUIRED = (
    "llama", "llama-biases", "mistral", "mistral-sliding", "qwen2", "qwen3", "gemma", "gemma2",
    "gemma3", "phi", "phi3", "gpt2", "gpt-neox", "gptj", "opt", "falcon-mqa", "falcon-new",
    "bloom", "mpt", "stablelm", "cohere", "olmo2", "starcoder2", "granite", "nemotron", "mixtral",
    "qwen2-moe", "deepseek-v2", "bert", "roberta", "distilbert", "modernbert", "vit", "dinov2",
    "swin", "clip", "convnext", "resnet", "t5", "bart", "whisper",
)  # fmt: skip


def marked(names: Iterable[str]) -> list[Any]:
    """The names as parameters of a test, those that are not required marked as slow."""
    return [n if n in REQUIRED else pytest.param(n, marks=pytest.mark.slow) for n in names]
