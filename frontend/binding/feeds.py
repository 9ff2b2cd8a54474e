"""Small random inputs on which a model and its program are compared."""

from __future__ import annotations

from typing import Any

import torch

from prunec.frontend.tracing.feeds import EXAMPLES, values_of
from prunec.passes.ir import Entry, Port, Role
from prunec.passes.ir.run import positions

PREFILL = 7
"""Tokens that a language model reads before the last one, other than those it was traced on."""
_PADDING = 2
_SIZES = {"batch_size": 2, "image_batch_size": 2, "decoder_sequence_length": 5}


def random_inputs(
    entry: Entry, model: Any, seed: int = 0, *, length: int = PREFILL + 1
) -> dict[str, torch.Tensor]:
    """Two rows of inputs as the model itself takes them; the second is padded on the left.

    Args:
        entry: Its ports say which inputs there are; keys and values are left out.
        model: Tells which tokens there are.
        seed: Of the numbers.
        length: Tokens of a text.
    """
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(2, length, dtype=torch.int64)
    mask[1, :_PADDING] = 0
    inputs = {}
    for port in entry.inputs:
        if port.role is Role.MASK:
            inputs[port.name] = mask
        elif port.role is Role.POSITIONS:
            inputs[port.name] = positions(mask)
        elif port.role is not Role.CACHE:
            inputs[port.name] = _random(port, model, generator, length)
    return inputs


def _random(port: Port, model: Any, generator: torch.Generator, length: int) -> torch.Tensor:
    sizes = EXAMPLES | _SIZES | {"sequence_length": length}
    shape = [sizes[size] if isinstance(size, str) else size for size in port.shape]
    if port.dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(port.dtype)
    name = "vocab_size" if port.role is Role.TOKENS else "type_vocab_size"
    high = min((n for n in values_of(model.config, name) if n), default=2)
    return torch.randint(min(3, high - 2), high, shape, generator=generator)
