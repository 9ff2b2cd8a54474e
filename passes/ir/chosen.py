"""What the ports of a program say about the units that its prompt chooses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prunec.passes.ir.program import DECODE, PREFILL, Port, Program, ProgramError, Role

_INDICES = ".indices"


@dataclass(frozen=True)
class ChosenUnits:
    """One structure of which prefill chooses units.

    Attributes:
        indices: The output of prefill that says which: [count] or [batch, count], int64.
        weights: By the port that hands the chosen part of it to decode, each weight.
        units: How many units there are.
        count: How many are chosen.
        part_bytes: What the chosen parts of all its weights take, for one choice.
        whole_bytes: What these weights take whole.
    """

    indices: str
    weights: Mapping[str, str]
    units: int
    count: int
    part_bytes: int
    whole_bytes: int

    def to_json(self) -> dict[str, Any]:
        """JSON values under the attributes' names."""
        return asdict(self)


def has_choice(program: Program) -> bool:
    """Whether the program has the entry points prefill and decode, in which a prompt chooses."""
    return set(program.entries) == {PREFILL, DECODE}


def require_choice(program: Program) -> None:
    """Check that a prompt chooses in a program.

    Raises:
        ProgramError: it has other entry points than prefill and decode.
    """
    if not has_choice(program):
        raise ProgramError(
            f"the program has the entry points {sorted(program.entries)}, not {PREFILL} and "
            f"{DECODE}: run select-experts on it, or open it as a program with one entry point"
        )


def chosen_units(program: Program) -> tuple[ChosenUnits, ...]:
    """Every structure of which a prompt chooses units, in order; none where none does.

    Prefill's outputs list for each structure its indices and then the parts of its weights.
    """
    if not has_choice(program):
        return ()
    return tuple(_chosen(program, group) for group in _groups(program))


def choices_per_batch(program: Program) -> str:
    """``per-sequence`` where every row of a batch has units of its own, else ``shared``."""
    ports = program.entries[DECODE].ports(Role.EXPERTS)[0]
    is_own = any(isinstance(size, str) for port in ports for size in port.shape)
    return "per-sequence" if is_own else "shared"


def _groups(program: Program) -> Iterator[list[Port]]:
    group: list[Port] = []
    for port in program.entries[PREFILL].ports(Role.EXPERTS)[1]:
        if port.name.endswith(_INDICES) and group:
            yield group
            group = []
        group.append(port)
    yield group


def _chosen(program: Program, group: list[Port]) -> ChosenUnits:
    indices, *parts = group
    names = {port.name: port.name.removeprefix("experts.") for port in parts}
    count = int(indices.shape[-1])
    first = program.weights[names[parts[0].name]]
    return ChosenUnits(
        indices=indices.name,
        weights=names,
        units=count * first.numel() // _numbers(parts[0]),
        count=count,
        part_bytes=sum(_numbers(port) * port.dtype.itemsize for port in parts),
        whole_bytes=sum(program.weights[name].nbytes for name in names.values()),
    )


def _numbers(port: Port) -> int:
    """How many numbers a port has for one choice."""
    return math.prod(size for size in port.shape if isinstance(size, int))
