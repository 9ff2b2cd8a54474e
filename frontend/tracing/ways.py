"""The ways in which a model can be traced, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TypeVar

import torch

from prunec.frontend.tracing.branches import both_sides, table_makers
from prunec.frontend.tracing.errors import ExportError, TracerError
from prunec.frontend.tracing.precision import TRACED
from prunec.passes.ir import Program

Tried = TypeVar("Tried")


class Tables(StrEnum):
    """How tables that depend on positions are traced."""

    WRITTEN = "tables as written"
    BOTH_SIDES = "both sides of branches in tables"


@dataclass(frozen=True)
class Way:
    """One way to trace a model.

    Attributes:
        dtype: What it computes in meanwhile.
        attention: An attention implementation of transformers; its own choice where not given.
        tables: What becomes of branches on values in the modules that make tables.
    """

    dtype: torch.dtype
    attention: str | None
    tables: Tables

    def __str__(self) -> str:
        attention = self.attention or "its own choice of"
        return f"{str(self.dtype).removeprefix('torch.')}, {attention} attention, {self.tables}"


_PRECISIONS = (
    (TRACED, None),
    # Some models have code for attention that traces only where it is spelled out,
    (TRACED, "eager"),
    # and some compute in float32 alone; what their casts are for cannot be told.
    (torch.float32, "eager"),
)
WAYS = tuple(Way(*precision, tables) for precision, tables in product(_PRECISIONS, Tables))
"""For models of transformers. Each graph is taken as traced, or else decomposed."""


@contextmanager
def traced_as(model: torch.nn.Module, tables: Tables) -> Iterator[None]:
    """Let the model's tables be traced so meanwhile.

    Raises:
        TracerError: both sides are wanted, and the model has no module that makes tables.
    """
    if tables is Tables.WRITTEN:
        yield
        return
    if not table_makers(model):
        raise TracerError("no module of it makes tables from buffers alone")
    with both_sides(model):
        yield


def first_that_works(ways: Iterable[Tried], trace: Callable[[Tried], Program]) -> Program:
    """The program that the first way gives that gives one.

    Raises:
        ExportError: what the first one raised, of those that gave a graph if any did; with what
            every other one raised.
    """
    failed: list[tuple[str, ExportError]] = []
    for way in ways:
        try:
            return trace(way)
        except ExportError as error:
            failed.append((str(way), error))
    errors = [error for _, error in failed]
    telling = next((e for e in errors if not isinstance(e, TracerError)), errors[0])
    telling.tried = tuple(
        (f"{way}, {graph}" if graph else way, reason)
        for way, error in failed
        for graph, reason in error.tried or (("", error.reason),)
    )
    raise telling
