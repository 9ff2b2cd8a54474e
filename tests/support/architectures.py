"""Tiny random models of many architectures, traced once and shared."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from transformers import PreTrainedConfig

from prunec.frontend.export import trace_model
from prunec.frontend.tracing.architecture import model_class
from prunec.passes.contract import Context
from prunec.passes.ir import Entry, Program, Role, cast
from prunec.passes.ir.run import positions
from prunec.passes.manager import run_pipeline
from prunec.passes.pipelines import CLEAN
from support.configs.decoders import DECODERS
from support.configs.encoder_decoders import ENCODER_DECODERS
from support.configs.encoders import ENCODERS
from support.configs.experts import EXPERT_DECODERS
from support.configs.images import IMAGES
from support.configs.sizes import VOCABULARY, Build
from support.configs.towers import TOWERS

ARCHITECTURES: dict[str, Build] = {
    **DECODERS,
    **EXPERT_DECODERS,
    **ENCODERS,
    **IMAGES,
    **TOWERS,
    **ENCODER_DECODERS,
}
"""How to make a configuration, by a name of ours."""

WITHOUT_CACHE = ("openai-gpt", "xlnet")
"""Models that generate text and keep nothing between steps."""

OTHER_SIZE = 6
"""What a dynamic size is that no label below names."""


def random_model(name: str, seed: int = 0) -> Any:
    """A model of this architecture in float32, every parameter away from its trivial start."""
    return random_model_of(ARCHITECTURES[name](), seed)


def random_model_of(config: PreTrainedConfig, seed: int = 0) -> Any:
    """The same, by its configuration."""
    torch.manual_seed(seed)
    model = model_class(config)._from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            _randomise(parameter, is_bias=parameter_name.endswith("bias"))
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith(("running_mean", "running_var")):
                _randomise(buffer, is_bias=buffer_name.endswith("mean"))
    return model


def _randomise(tensor: torch.Tensor, is_bias: bool) -> None:
    if tensor.dim() > 1 or is_bias:
        tensor.normal_(std=0.15)
    elif tensor.dim() == 1:  # a norm's weight, a layer's scale, a variance
        tensor.uniform_(0.5, 1.5)


@cache
def traced_architecture(name: str) -> tuple[Any, Program]:
    """A random model and its program in float32, traced and cleaned."""
    model = random_model(name)
    traced = trace_model(model, cache=name not in WITHOUT_CACHE)
    return model, run_pipeline(traced, CLEAN, Context())


@cache
def architecture_program(name: str, dtype: torch.dtype = torch.float64) -> Program:
    """The traced and cleaned program of a random model of this architecture."""
    return cast(traced_architecture(name)[1], dtype)


def random_feeds(
    entry: Entry, seed: int = 0, *, batch: int = 2, new: int = 9, past: int = 0
) -> dict[str, torch.Tensor]:
    """Valid random inputs of an entry point, by the roles and labels of its ports.

    The first row is padded on the left by two tokens where the entry takes a mask.
    """
    past = past if entry.ports(Role.CACHE)[0] else 0
    sizes = {
        "batch_size": batch,
        "image_batch_size": batch + 1,
        "sequence_length": new,
        "past_sequence_length": past,
        "total_sequence_length": past + new,
        "decoder_sequence_length": new - 2,
        "sample_count": 400,
    }
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(batch, past + new, dtype=torch.int64)
    mask[0, :2] = 0
    feeds = {}
    for port in entry.inputs:
        shape = [
            sizes.get(size, OTHER_SIZE) if isinstance(size, str) else size for size in port.shape
        ]
        if port.role is Role.MASK:
            feeds[port.name] = mask
        elif port.role is Role.POSITIONS:
            feeds[port.name] = positions(mask)[:, -new:]
        elif port.dtype.is_floating_point:
            feeds[port.name] = torch.randn(shape, generator=generator, dtype=port.dtype)
        else:
            # Tokens, and kinds of tokens: of those there are two.
            high = VOCABULARY if port.role is Role.TOKENS else 2
            feeds[port.name] = torch.randint(min(3, high - 2), high, shape, generator=generator)
    return feeds
