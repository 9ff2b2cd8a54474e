"""Hypothesis strategies for selections and axis structures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from prunec.passes.analysis.coupling import Structure
from prunec.passes.ir.axes import Atom, Axis, Indices, concat, product


@st.composite
def selections(draw: st.DrawFn, structures: Sequence[Structure]) -> dict[Atom, Indices]:
    """What stays of some of these structures: any non-empty subset of each one's units."""
    chosen = draw(st.lists(st.sampled_from(structures), min_size=1, max_size=4, unique=True))
    return {s.atom: draw(_subsets(s.size)) for s in chosen}


def _subsets(size: int) -> st.SearchStrategy[Indices]:
    units = st.sets(st.integers(0, size - 1), min_size=1, max_size=size)
    return units.map(lambda found: np.array(sorted(found), dtype=np.int64))


@st.composite
def axes(draw: st.DrawFn, size: int = 24, depth: int = 2) -> Axis:
    """A random structure of this size."""
    shape = draw(st.sampled_from(["atom", "product", "concat"])) if depth else "atom"
    if shape == "product":
        inner = draw(st.sampled_from([d for d in range(2, size) if size % d == 0] or [size]))
        if inner < size:
            outer = draw(axes(size // inner, depth - 1))
            return product([outer, draw(axes(inner, depth - 1))])
    if shape == "concat" and size > 1:
        front = draw(st.integers(1, size - 1))
        return concat([draw(axes(front, depth - 1)), draw(axes(size - front, depth - 1))])
    return Atom(size)
