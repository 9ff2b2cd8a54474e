"""Memory that a prompt's chosen weights are written to, used again once nobody holds them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any


class Experts(Mapping[str, Any]):
    """Chosen weights by the name of decode's input, gathered when the first of them is read.

    Args:
        names: Of the inputs.
        gather: Returns the weights; given this mapping, for as long as which they are good.
    """

    def __init__(
        self, names: Collection[str], gather: Callable[[Experts], Mapping[str, Any]]
    ) -> None:
        self._names = names
        self._gather: Callable[[Experts], Mapping[str, Any]] | None = gather
        self._values: Mapping[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if self._gather is not None:
            self._values, self._gather = self._gather(self), None
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class ExpertsMemory:
    """Lends memory for one choice at a time; what comes back serves the next prompt.

    Fresh memory costs a page fault for every few kilobytes that are written to it.

    Args:
        allocate: Makes the values for a batch of so many sequences.
    """

    def __init__(self, allocate: Callable[[int], Mapping[str, Any]]) -> None:
        self._allocate = allocate
        self._spare: tuple[int, Mapping[str, Any]] | None = None
        self._is_open = True

    def lend(self, batch: int, holder: object) -> Mapping[str, Any]:
        """Values to write a choice to, nobody else's until the holder is gone."""
        spare, self._spare = self._spare, None
        values = spare[1] if spare is not None and spare[0] == batch else self._allocate(batch)
        weakref.finalize(holder, self._take_back, batch, values).atexit = False
        return values

    def close(self) -> None:
        """Free what is not lent, and from now on what comes back."""
        self._spare, self._is_open = None, False

    def _take_back(self, batch: int, values: Mapping[str, Any]) -> None:
        if self._is_open:
            self._spare = batch, values
