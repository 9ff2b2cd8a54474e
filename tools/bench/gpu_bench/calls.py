"""One call of an entry point on fixed inputs, as often as a measurement wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.fx import GraphModule

from prunec.passes.ir import Entry, Program, Role, language_feeds
from prunec.passes.ir.run import arguments

Tensors = Mapping[str, torch.Tensor]


def entry_call(
    program: Program, entry: Entry, tokens: torch.Tensor, past: int, handed_on: Tensors
) -> Callable[[], Any]:
    """A step after `past` tokens.

    Args:
        program: On the device.
        entry: Which of its entry points.
        tokens: [batch, new], on the device.
        past: Tokens in the cache.
        handed_on: The cache, and the chosen units that the entry point reads.

    Returns:
        What runs it and returns its outputs in order.
    """
    mask = torch.ones(len(tokens), past + tokens.shape[1], dtype=torch.int64, device=tokens.device)
    module = GraphModule({}, entry.graph)
    inputs = arguments(program, entry, language_feeds(entry, tokens, mask, handed_on))
    return lambda: module(*inputs)


def random_prompt(entry: Entry, batch: int, length: int) -> torch.Tensor:
    """[batch, length] tokens of the entry's vocabulary, on the CPU, always the same."""
    (logits,) = entry.ports(Role.LOGITS)[1]
    generator = torch.Generator().manual_seed(0)
    return torch.randint(int(logits.shape[-1]), (batch, length), generator=generator)


def random_cache(
    entry: Entry, batch: int, past: int, device: torch.device | str
) -> dict[str, torch.Tensor]:
    """Keys and values of `past` tokens, by the names of the entry's inputs."""
    sizes = {"batch_size": batch, "past_sequence_length": past}
    return {
        port.name: torch.randn(
            [s if isinstance(s, int) else sizes[s] for s in port.shape], device=device
        ).to(port.dtype)
        for port in entry.ports(Role.CACHE)[0]
    }
