"""Keys and values of earlier tokens, in memory that may have room for those to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

Values = Mapping[str, Any]
"""Values of ONNX Runtime (`onnxruntime.OrtValue`) by name."""

_SPARE_TOKENS = 64


@dataclass
class Memory:
    """What caches share of which one grew out of the other.

    Attributes:
        values: Each [batch, head, room, head_dim], by the name of the input that takes it.
        written: How many tokens any of them has written.
        bound: The `prunec.backends.ort.binding.Binding` of who wrote last.
    """

    values: Values
    written: int
    bound: Any = None


@dataclass(frozen=True)
class Cache:
    """The first tokens of a memory; that of an earlier step stays as it was.

    Attributes:
        memory: Where they are.
        tokens: How many.
    """

    memory: Memory
    tokens: int

    @classmethod
    def full(cls, values: Values) -> Cache:
        """All that these values hold."""
        tokens = next(iter(values.values())).shape()[2]
        return cls(Memory(values, tokens), tokens)

    def exact(self) -> Values:
        """Values of these tokens only; copies where there are others."""
        return self.memory.values if self._room() == self.tokens else self._copied(self.tokens)

    def grown(self, new: int) -> Cache:
        """A cache with so many tokens more, not written yet, nor seen by another cache."""
        total, memory = self.tokens + new, self.memory
        if memory.written != self.tokens or self._room() < total:
            memory = Memory(self._copied(total + total // 4 + _SPARE_TOKENS), total)
        memory.written = total
        return Cache(memory, total)

    def without_last(self, tokens: int) -> Cache:
        """The cache as it was before the last tokens."""
        return Cache(self.memory, self.tokens - tokens)

    def _room(self) -> int:
        return int(next(iter(self.memory.values.values())).shape()[2])

    def _copied(self, room: int) -> Values:
        return {name: self._moved(value, room) for name, value in self.memory.values.items()}

    def _moved(self, value: Any, room: int) -> Any:
        array = value.numpy()
        batch, heads, _, width = array.shape
        moved = np.zeros((batch, heads, room, width), array.dtype)
        moved[:, :, : self.tokens] = array[:, :, : self.tokens]
        return onnxruntime.OrtValue.ortvalue_from_numpy(moved, value.device_name())
