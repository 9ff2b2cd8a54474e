"""Run a program's graph on real tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import GraphModule

from prunec.passes.ir.program import Entry, Port, Program, ProgramError, Role


def execute(
    program: Program, feeds: Mapping[str, torch.Tensor], entry: Entry | None = None
) -> dict[str, torch.Tensor]:
    """Run one entry point.

    Args:
        program: Gives the weights.
        feeds: Input tensors by port name.
        entry: The entry point; the only one where there is one.

    Returns:
        Output tensors by port name.
    """
    entry = entry or program.main
    module = GraphModule({}, entry.graph)
    values = module(*arguments(program, entry, feeds))
    return dict(zip((p.name for p in entry.outputs), values, strict=True))


def arguments(
    program: Program, entry: Entry, feeds: Mapping[str, torch.Tensor]
) -> list[torch.Tensor]:
    """Weights and inputs in placeholder order.

    Raises:
        ProgramError: an input is missing.
    """
    missing = [p.name for p in entry.inputs if p.name not in feeds]
    if missing:
        raise ProgramError(f"inputs {missing} are missing; given: {sorted(feeds)}")
    weights = [program.weights[name] for _, name in entry.weight_nodes()]
    return [*weights, *(feeds[p.name] for p in entry.inputs)]


class Interpreter(torch.fx.Interpreter):
    """Run an entry point node by node, freeing each value after its last use.

    Override `run_node` to look at values on their way.
    """

    def __init__(self, program: Program, entry: Entry) -> None:
        super().__init__(GraphModule({}, entry.graph), garbage_collect_values=True)
        self.program = program
        self.entry = entry

    def feed(self, feeds: Mapping[str, torch.Tensor]) -> Any:
        """Run on these inputs, by port name."""
        return self.run(*arguments(self.program, self.entry, feeds))


def language_feeds(
    entry: Entry,
    tokens: torch.Tensor,
    mask: torch.Tensor | None = None,
    cache: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Inputs of a model of text by the roles of its ports: one step of it, or its only run.

    Args:
        entry: Whose inputs to make.
        tokens: [batch, new tokens], int64.
        mask: [batch, past + new tokens], 1 for real tokens, 0 for padding: on the left where
            there is a cache. All ones where not given.
        cache: By input name the keys and values of earlier tokens, empty where not given, and
            the units that a prompt chose.
    """
    batch, new = tokens.shape
    cache_inputs, _ = entry.ports(Role.CACHE)
    if cache is None:
        cache = {p.name: _empty_cache(p, batch, tokens.device) for p in cache_inputs}
    past = next((t.shape[_past_dim(p)] for p in cache_inputs for t in [cache[p.name]]), 0)
    if mask is None:
        mask = torch.ones(batch, past + new, dtype=torch.int64, device=tokens.device)
    by_role = {
        Role.TOKENS: tokens,
        Role.MASK: mask,
        Role.POSITIONS: positions(mask)[:, -new:],
        Role.SEGMENTS: torch.zeros_like(tokens),  # one text, not a pair
    }
    return {
        p.name: by_role[p.role] if p.role in by_role else _handed_on(p, cache) for p in entry.inputs
    }


def _handed_on(port: Port, cache: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What an earlier step gave for this input."""
    if port.role is Role.OTHER:
        raise ProgramError(
            f"text alone cannot run this program: its input {port.name} is neither tokens, mask, "
            "positions, segments nor cache"
        )
    if port.name not in cache:
        raise ProgramError(
            f"the input {port.name} ({port.role}) comes from an earlier step, which gave only "
            f"{sorted(cache)[:4]} …: run the entry point before this one first"
        )
    return cache[port.name]


def positions(mask: torch.Tensor) -> torch.Tensor:
    """The position of each token among the real ones of its row; 0 for padding on the left."""
    return (mask.cumsum(-1) - 1).clamp_min(0)


def next_cache(entry: Entry, outputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The cache outputs of one step under the names of the next step's inputs."""
    inputs, given = entry.ports(Role.CACHE)
    return {i.name: outputs[o.name] for i, o in zip(inputs, given, strict=True)}


def without_last(
    entry: Entry, cache: Mapping[str, torch.Tensor], tokens: int
) -> dict[str, torch.Tensor]:
    """The cache as it was before the last tokens: views, by the names of the entry's inputs."""
    ports = {p.name: p for p in entry.ports(Role.CACHE)[0]}
    return {
        name: tensor.narrow(
            _past_dim(ports[name]), 0, tensor.shape[_past_dim(ports[name])] - tokens
        )
        for name, tensor in cache.items()
    }


def _past_dim(port: Port) -> int:
    return port.shape.index("past_sequence_length")


def _empty_cache(port: Port, batch: int, device: torch.device) -> torch.Tensor:
    sizes: dict[str, int] = {"batch_size": batch, "past_sequence_length": 0}
    shape: Sequence[int] = [sizes[s] if isinstance(s, str) else s for s in port.shape]
    return torch.zeros(shape, dtype=port.dtype, device=device)
