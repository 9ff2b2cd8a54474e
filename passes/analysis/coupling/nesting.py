"""Find axes that always appear under another, whose units may then each keep their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from prunec.passes.analysis.coupling.site import Axes, Walk
from prunec.passes.ir import Program
from prunec.passes.ir.axes import Atom, Axis, Product, leaves, resolve

_OUTER_KINDS = ("kv-group", "head", "expert")
_INNER_KINDS = ("query-head-in-group", "qk-dim", "vo-dim", "expert-channel")


def find_outer_axes(
    program: Program, walk: Walk, weight_axes: Mapping[str, Axes], kinds: Mapping[Atom, str]
) -> dict[Atom, Atom]:
    """For each inner axis the outer one that stands beside it in every tensor that has it.

    Operands that are gathered where they are used (rotary tables) do not count: the cut makes
    one of them for each outer unit. Where the two are one dimension, the outer one must come
    first: otherwise what its units keep would not stay in their order.
    """
    beside: dict[Atom, set[Atom]] = {}
    inside: set[tuple[Atom, Atom]] = set()
    chosen = _chosen(walk)
    for name, axes in weight_axes.items():
        if name not in program.buffers:
            _meet(beside, axes, chosen)
            inside.update(pair for axis in axes for pair in _pairs(axis))
    for node, axes in walk.axes.items():
        if node in walk.learned:
            _meet(beside, axes, chosen)
            inside.update(pair for axis in axes for pair in _pairs(axis))
    result: dict[Atom, Atom] = {}
    for atom, others in beside.items():
        if kinds.get(atom) in _INNER_KINDS:
            outer = [o for o in others if o is not atom and kinds.get(o) in _OUTER_KINDS]
            if len(outer) == 1 and outer[0].refusal is None and (outer[0], atom) not in inside:
                result[atom] = outer[0]
    return result


def _pairs(axis: Axis) -> Iterator[tuple[Atom, Atom]]:
    """Every atom of a product with every atom that stands further out."""
    axis = resolve(axis)
    if isinstance(axis, Atom):
        return
    for place, part in enumerate(axis.parts):
        yield from _pairs(part)
        if isinstance(axis, Product):
            outwards = [atom for outer in axis.parts[:place] for atom in leaves(outer)]
            yield from ((atom, further) for atom in leaves(part) for further in outwards)


def _chosen(walk: Walk) -> dict[Atom, list[tuple[Axis, Axis]]]:
    """Rows that were chosen from an axis, by the innermost atom that counts them."""
    result: dict[Atom, list[tuple[Axis, Axis]]] = defaultdict(list)
    for rows, table in walk.chosen:
        result[list(leaves(rows))[-1]].append((rows, table))
    return result


def _meet(
    beside: dict[Atom, set[Atom]],
    axes: Iterable[Axis],
    chosen: Mapping[Atom, list[tuple[Axis, Axis]]],
) -> None:
    atoms = {leaf for axis in axes for leaf in leaves(axis)}
    for atom in list(atoms):
        for rows, table in chosen.get(atom, ()):
            if atoms.issuperset(leaves(rows)):
                atoms.update(leaves(table))
    for atom in atoms:
        beside[atom] = beside[atom] & atoms if atom in beside else set(atoms)
