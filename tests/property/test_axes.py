"""Axis structures: whatever is split or unified, positions stay accounted for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunec.passes.ir.axes import (
    Atom,
    Axis,
    RefinementError,
    Refusal,
    concat,
    factors,
    fresh_copy,
    leaves,
    peel,
    product,
    refuse,
    resolve,
    size,
    split_front,
    split_inner,
    unify,
)
from prunec.passes.ir.selection import kept, unit_of
from support.strategies import axes

quick = settings(max_examples=200, deadline=None)


@quick
@given(axis=axes())
def test_everything_kept_is_every_position(axis: Axis) -> None:
    assert kept(axis, {}).tolist() == list(range(24))


@quick
@given(axis=axes(), data=st.data())
def test_removing_a_unit_removes_exactly_its_positions(axis: Axis, data: st.DataObject) -> None:
    atom = data.draw(st.sampled_from(list(dict.fromkeys(leaves(axis)))))
    gone = data.draw(st.integers(0, atom.size - 1))
    selection = {atom: np.delete(np.arange(atom.size), gone)}
    positions = np.flatnonzero(unit_of(axis, atom) != gone)
    assert kept(axis, selection).tolist() == positions.tolist()


@quick
@given(axis=axes(), inner=st.sampled_from([2, 3, 4, 6, 8, 12]))
def test_a_split_into_groups_is_the_same_axis(axis: Axis, inner: int) -> None:
    try:
        outer_part, inner_part = split_inner(axis, inner)
    except RefinementError:
        return
    assert size(inner_part) == inner
    assert size(outer_part) * inner == 24
    atom = next(leaves(outer_part))
    selection = {atom: np.arange(max(1, atom.size - 1))}
    rebuilt = product([outer_part, inner_part])
    assert kept(axis, selection).tolist() == kept(rebuilt, selection).tolist()


@quick
@given(axis=axes(), front=st.integers(1, 23))
def test_a_split_into_segments_is_the_same_axis(axis: Axis, front: int) -> None:
    try:
        first, rest = split_front(axis, front)
    except RefinementError:
        return
    assert (size(first), size(rest)) == (front, 24 - front)
    atom = next(leaves(first))
    selection = {atom: np.arange(max(1, atom.size - 1))}
    rebuilt = concat([first, rest])
    assert kept(axis, selection).tolist() == kept(rebuilt, selection).tolist()


@quick
@given(a=axes(), b=axes(), data=st.data())
def test_unified_axes_keep_the_same_positions(a: Axis, b: Axis, data: st.DataObject) -> None:
    try:
        unify(a, b)
    except RefinementError:
        return
    atom = data.draw(st.sampled_from(list(dict.fromkeys([*leaves(a), *leaves(b)]))))
    selection = {atom: np.arange(0, atom.size, 2)}
    assert kept(a, selection).tolist() == kept(b, selection).tolist()


def test_rotating_halves_makes_a_pair_one_unit() -> None:
    # concat[a | b] ~ concat[b | a]
    width = Atom(64)
    first, second = split_front(width, 32)
    unify(width, concat([second, first]))
    assert resolve(first) is resolve(second)
    assert len(kept(width, {next(leaves(width)): np.arange(31)})) == 62


def test_splitting_heads_keeps_their_count_and_width_apart() -> None:
    # 576 ~ 9 × 64, then 9 ~ 3 × 3
    width = Atom(576)
    parts = factors(width)
    peel(parts, 64)
    heads = factors(width)[0]
    groups, repeat = Atom(3), Atom(3)
    unify(heads, product([groups, repeat]))
    assert [size(f) for f in factors(width)] == [3, 3, 64]


def test_a_refusal_reaches_parts_that_are_split_off_later() -> None:
    width = Atom(12)
    refuse(width, Refusal("it is fixed", "node"))
    outer, inner = split_inner(width, 4)
    assert [a.refusal.reason for a in (*leaves(outer), *leaves(inner)) if a.refusal] == [
        "it is fixed",
        "it is fixed",
    ]


def test_sizes_that_do_not_refine_are_an_error() -> None:
    with pytest.raises(RefinementError, match="groups of 5"):
        split_inner(Atom(12), 5)


def test_a_copy_has_atoms_of_its_own_tied_as_the_original() -> None:
    atom = Atom(8)
    copied = fresh_copy(concat([atom, atom]))
    first, second = leaves(copied)
    assert first is second
    assert first is not atom


def test_parts_of_one_position_are_no_parts() -> None:
    a, b = Atom(2), Atom(2)
    for axis in (a, b):
        outer, inner = split_inner(axis, 2)
        assert (size(outer), size(inner)) == (1, 2)
    unify(a, b)
    assert list(leaves(a)) == list(leaves(b))
    empty, whole = split_front(a, 0)
    assert (size(empty), size(whole)) == (0, 2)
