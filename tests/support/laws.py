"""The laws of a cut as assertions about one program, for tests of any operator rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
import torch

from prunec.passes.analysis.bill import Bill
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import Coupling, Structure, find_structures
from prunec.passes.ir import Program, execute
from prunec.passes.ir.axes import Atom, Indices
from prunec.passes.ir.selection import Kept, PerUnit, Selection, kept_count
from prunec.passes.surgery import cut_program
from support.oracle import masked_error, relative_error

# float64 rounding through a few blocks of width 12; a wrong cut is off by more than 1e-4.
ROUNDING = 1e-10

Feeds = Mapping[str, torch.Tensor]


def choose(structures: Sequence[Structure], random: Random, most: int = 4) -> dict[Atom, Kept]:
    """What stays of a few structures: often one unit, and where it may each outer unit's own."""
    chosen = random.sample(list(structures), min(len(structures), random.randint(1, most)))
    return {s.atom: choose_units(s, random) for s in chosen}


def choose_units(structure: Structure, random: Random) -> Kept:
    """What stays of one structure; of layers possibly nothing."""
    least = 0 if structure.kind == "layer" else structure.least
    most = max(least, structure.size - 1)
    count = least if random.random() < 0.3 else random.randint(least, most)
    if structure.outer is None or random.random() < 0.4:
        return _subset(structure.size, count, random)
    rows = [_subset(structure.size, count, random) for _ in range(structure.outer.size)]
    return PerUnit(structure.outer, np.stack(rows))


def _subset(size: int, count: int, random: Random) -> Indices:
    return np.array(sorted(random.sample(range(size), count)), dtype=np.int64)


def require_laws(
    program: Program, coupling: Coupling, selection: Selection, feeds: Feeds, random: Random
) -> None:
    """Laws 1 to 4 for one selection of a program.

    Args:
        program: With one entry point, in float64.
        coupling: Its structures.
        selection: What stays.
        feeds: Inputs of the program by name.
        random: Chooses the structure that is cut first where cuts are composed.
    """
    at_once = cut_program(program, coupling, selection)
    error = masked_error(program, coupling, selection, feeds, at_once)
    assert error < ROUNDING, f"cut and mask differ by {error:.2g} of the largest value"

    everything = {s.atom: np.arange(s.size) for s in coupling.structures}
    assert cut_program(program, coupling, everything) is program

    chosen = _first_to_cut([s for s in coupling.structures if s.atom in selection], random)
    first = {chosen.atom: _some_of(selection[chosen.atom], chosen.size, random)}
    between = cut_program(program, coupling, first)
    require_bill(program, coupling, chosen, first[chosen.atom], between)

    found = find_structures(between)
    after = cut_program(between, found, _what_is_left(coupling, found, selection, first))
    _require_same_parameters(after, at_once)
    _require_same_outputs(after, at_once, feeds)


def _first_to_cut(chosen: Sequence[Structure], random: Random) -> Structure:
    """Any, but layers go last: without them the other axes may be made of finer parts."""
    return random.choice([s for s in chosen if s.kind != "layer"] or list(chosen))


def _some_of(stays: Kept, size: int, random: Random) -> Kept:
    """The whole cut of an axis, or one that leaves more.

    Never a single unit of it: an axis of size one relates nothing, and what it held together
    (the layers of a stream that passes through norms) is found in smaller parts.
    """
    if isinstance(stays, PerUnit) or (random.random() < 0.5 and kept_count(stays) > 1):
        return stays
    least = min(2, size)
    more = random.sample(range(size), random.randint(least, max(least, size - 1)))
    return np.array(sorted({*more, *map(int, stays)}), dtype=np.int64)


def require_bill(
    program: Program, coupling: Coupling, structure: Structure, stays: Kept, after: Program
) -> None:
    """Law 4: all sizes after a cut of one structure were foretold.

    So is what one unit alone takes, but where a weight carries the axis in two dimensions: what
    a unit takes then depends on how many others went.
    """
    cost = measure(after)
    assert Bill(program, coupling).cost({structure.atom: stays}) == cost, structure.name
    gone = structure.size - kept_count(stays)
    weights = [member.weight for member in structure.members]
    if structure.kind == "layer":
        if gone == 1 and not isinstance(stays, PerUnit):
            (unit,) = set(range(structure.size)) - set(map(int, stays))
            assert measure(program).parameters - cost.parameters == structure.unit_parameters[unit]
    elif len(set(weights)) == len(weights):
        taken = gone * structure.parameters_per_unit, gone * structure.kv_bytes_per_unit
        before = measure(program)
        assert before.parameters - cost.parameters == taken[0], structure.name
        assert before.kv_bytes_per_token - cost.kv_bytes_per_token == taken[1], structure.name


def _what_is_left(
    before: Coupling, between: Coupling, selection: Selection, first: Selection
) -> dict[Atom, Kept]:
    """What the first cut left to do, in terms of the program that it left."""
    result: dict[Atom, Kept] = {}
    for structure in (s for s in before.structures if s.atom in selection):
        stays = selection[structure.atom]
        there = counterpart(structure, before, between, first)
        done = first.get(structure.atom, np.arange(structure.size))
        if there is None or isinstance(done, PerUnit):
            continue
        if isinstance(stays, PerUnit):
            outer = first.get(stays.outer, np.arange(stays.outer.size))
            assert not isinstance(outer, PerUnit)
            rows = stays.table[outer]
            result[there.atom] = rows[0] if there.outer is None else PerUnit(there.outer, rows)
        else:
            result[there.atom] = np.searchsorted(done, stays)
    return result


def counterpart(
    structure: Structure, before: Coupling, after: Coupling, cut: Selection
) -> Structure | None:
    """The same structure in a program that was cut since; None where nothing of it is left."""
    members = _left(structure, after)
    twins = [s for s in before.structures if _left(s, after) == members and _is_choice(s, cut)]
    found = [s for s in after.structures if _left(s, after) == members]
    return found[twins.index(structure)] if structure in twins and found else None


def _is_choice(structure: Structure, cut: Selection) -> bool:
    """Whether there is still something to choose after a cut."""
    left = kept_count(cut[structure.atom]) if structure.atom in cut else structure.size
    return left > (0 if structure.kind == "layer" else 1)


def _left(structure: Structure, after: Coupling) -> tuple[tuple[str, int], ...]:
    return tuple((m.weight, m.dim) for m in structure.members if m.weight in after.weight_axes)


def _require_same_parameters(found: Program, expected: Program) -> None:
    assert found.parameters().keys() == expected.parameters().keys()
    for name, weight in expected.parameters().items():
        assert torch.equal(weight, found.weights[name]), name


def _require_same_outputs(found: Program, expected: Program, feeds: Feeds) -> None:
    values, wanted = (
        execute(p, {port.name: _fitted(feeds[port.name], port.shape) for port in p.main.inputs})
        for p in (found, expected)
    )
    assert values.keys() == wanted.keys()
    for name, value in wanted.items():
        assert relative_error(values[name], value) < ROUNDING, name


def _fitted(value: torch.Tensor, shape: tuple[int | str, ...]) -> torch.Tensor:
    """The first positions of an input, as many as a cut program takes."""
    return value[tuple(slice(s) if isinstance(s, int) else slice(None) for s in shape)]
