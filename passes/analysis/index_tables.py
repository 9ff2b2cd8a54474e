"""The index tables that a cut adds where an operand is shared and gathered at each use."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from torch.fx import Node

from prunec.passes.analysis.coupling import Coupling
from prunec.passes.analysis.coupling.site import Axes
from prunec.passes.ir.axes import Atom, Axis, Indices, factors, leaves, product
from prunec.passes.ir.selection import Selection, is_cut, kept, outer_elsewhere, unit_of
from prunec.passes.ir.take import dim_of, kept_table


def index_table_bytes(coupling: Coupling, selection: Selection, users: Container[Node]) -> int:
    """Bytes of all different tables that a cut needs.

    Args:
        coupling: Knows which operands are gathered.
        selection: What stays.
        users: The nodes that are left; a table that is gathered for no other does not count.
    """
    tables = {
        table.tobytes()
        for (user, _), axes in coupling.walk.gathers.items()
        if user in users
        for table in _tables(axes, coupling.walk.axes[user], selection)
    }
    return sum(map(len, tables))


def _tables(axes: Axes, result: Axes, selection: Selection) -> Iterator[Indices]:
    """The tables for one operand, whose axes are these where it is used."""
    for axis in axes:
        if not is_cut(axis, selection):
            continue
        outer = outer_elsewhere(axis, selection)
        if outer is not None:
            yield _rows(axis, outer, result, selection)
        elif _is_dynamic(axis):
            yield from _beside_dynamic(axis, selection)
        else:
            yield kept(axis, selection)


def _rows(axis: Axis, outer: Atom, result: Axes, selection: Selection) -> Indices:
    above = dim_of(result, outer)
    assert above is not None, "the result has the outer axis"
    rows = kept_table(axis, outer, selection)[unit_of(result[above], outer)]
    return rows[kept(result[above], selection)].ravel()


def _beside_dynamic(axis: Axis, selection: Selection) -> Iterator[Indices]:
    parts: Sequence[Axis] = factors(axis)
    dynamic = [place for place, part in enumerate(parts) if _is_dynamic(part)]
    for static in (product(parts[: dynamic[0]]), product(parts[dynamic[-1] + 1 :])):
        if is_cut(static, selection):
            yield kept(static, selection)


def _is_dynamic(axis: Axis) -> bool:
    return any(leaf.is_dynamic for leaf in leaves(axis))
