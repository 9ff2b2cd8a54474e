"""The program: graphs that share weights, their inputs and outputs, and where they came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Graph, Node

Size = int | str
"""A static size, or the label of a dynamic dimension such as ``batch_size``."""


PREFILL, DECODE = "prefill", "decode"
"""The entry points of a program that generates with two graphs."""


class ProgramError(Exception):
    """A program, or a file that should hold one, is not what it must be."""


class Role(StrEnum):
    """What an input or output means to those who feed the program."""

    TOKENS = "tokens"
    MASK = "mask"
    POSITIONS = "positions"
    SEGMENTS = "segments"  # which text of a pair a token belongs to
    CACHE = "cache"  # keys and values of earlier tokens, in and out
    LOGITS = "logits"  # whose softmax over the last axis is a distribution
    EXPERTS = "experts"  # units that a prompt chose, out of prefill and into decode
    OTHER = "other"


@dataclass(frozen=True)
class Port:
    """One input or output of an entry point.

    Attributes:
        name: The public name, for example ``past_key_values.0.key``.
        role: What it means.
        shape: Static sizes and labels of dynamic ones, in order.
        dtype: The element type.
    """

    name: str
    role: Role
    shape: tuple[Size, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Entry:
    """One graph that can be called: placeholders are weights first, inputs after them.

    Attributes:
        graph: ATen operators only. Never edited in place once it is part of a program.
        reads: Placeholder name to weight name; the order of the mapping means nothing.
        inputs: One port for each placeholder that is not a weight, in graph order.
        outputs: One port for each value of the output node, in order.
    """

    graph: Graph
    reads: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def input_nodes(self) -> list[Node]:
        """Placeholders that the caller feeds, in the order of `inputs`."""
        return [n for n in self.graph.find_nodes(op="placeholder") if n.name not in self.reads]

    def weight_nodes(self) -> Iterator[tuple[Node, str]]:
        """Each weight placeholder with the name of the weight that it reads, in graph order."""
        for node in self.graph.find_nodes(op="placeholder"):
            if node.name in self.reads:
                yield node, self.reads[node.name]

    def output_nodes(self) -> list[Node]:
        """The nodes that produce the outputs, in the order of `outputs`."""
        return list(self.graph.output_node().args[0])  # type: ignore[arg-type]

    def ports(self, role: Role) -> tuple[list[Port], list[Port]]:
        """The inputs and the outputs that have this role."""
        return [p for p in self.inputs if p.role is role], [
            p for p in self.outputs if p.role is role
        ]


@dataclass(frozen=True)
class Program:
    """A traced model as a value; a pass returns a new one that shares what it left alone.

    Attributes:
        entries: Entry points by name; all read the same weights. A cut in one is a cut in all.
        weights: Every tensor by name, tied ones once. May be fake tensors for analysis only.
        buffers: Names of the weights that were not parameters, such as rotary frequencies.
        origin: What it was made from: JSON values such as ``model``, ``model_type``, and
            ``predicts_next`` of a model that generates.
        records: One JSON object for each pass that changed it, oldest first.
    """

    entries: Mapping[str, Entry]
    weights: Mapping[str, torch.Tensor]
    buffers: frozenset[str] = frozenset()
    origin: Mapping[str, Any] = field(default_factory=dict)
    records: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", MappingProxyType(dict(self.entries)))
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))

    @property
    def main(self) -> Entry:
        """The entry point of a program that has only one.

        Raises:
            ProgramError: there are several, so the caller must choose.
        """
        if len(self.entries) != 1:
            raise ProgramError(
                f"this program has the entry points {sorted(self.entries)}: name one"
            )
        return next(iter(self.entries.values()))

    @property
    def predicts_next(self) -> bool:
        """Whether its logits are of the token after each: it was traced so, or keeps a cache."""
        keeps_cache = any(entry.ports(Role.CACHE)[0] for entry in self.entries.values())
        return keeps_cache or bool(self.origin.get("predicts_next"))

    def entry(self, name: str) -> Entry:
        """The entry point of this name.

        Raises:
            ProgramError: there is none.
        """
        if name not in self.entries:
            raise ProgramError(f"no entry point {name!r}: this program has {sorted(self.entries)}")
        return self.entries[name]

    def parameters(self) -> dict[str, torch.Tensor]:
        """The weights that are parameters of the model, tied ones once."""
        return {n: w for n, w in self.weights.items() if n not in self.buffers}

    def with_weights(self, changed: Mapping[str, torch.Tensor]) -> Program:
        """The same program with these weights; the same object where none is given."""
        return replace(self, weights={**self.weights, **changed}) if changed else self

    def with_record(self, record: Mapping[str, Any]) -> Program:
        """The same program with one more entry in its history."""
        return replace(self, records=(*self.records, record))

    def fingerprint(self) -> str:
        """A digest of the weights' names and shapes: equal for two checkpoints of one model."""
        shapes = {n: list(w.shape) for n, w in sorted(self.weights.items())}
        return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]
