"""What an operator rule sees: one node, the axes of its operands, and a place for its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from torch.fx import Graph, Node

from prunec.passes.ir.axes import (
    Atom,
    Axis,
    RefinementError,
    Refusal,
    Selection,
    fresh_copy,
    is_cut,
    kept,
    refuse,
    unify,
)
from prunec.passes.ir.shapes import static_shape

Axes = tuple[Axis | None, ...]
"""One axis for each dimension of a tensor, None where its size is dynamic."""


class Use(StrEnum):
    """What an operator does with an axis; structures are named by it."""

    PRODUCED = "produced"  # the output axis of a contraction with a weight, or of a lookup
    CONSUMED = "consumed"  # summed over by a contraction
    HEADS = "heads"  # counts the heads of an attention
    KEY_WIDTH = "key width"  # summed over between queries and keys
    VALUE_WIDTH = "value width"  # the width of an attention's values
    REPEATED = "repeated"  # made by expanding a dimension of size 1


@dataclass
class Walk:
    """The state of one analysis over all entry points of a program."""

    axes: dict[Node, Axes] = field(default_factory=dict)
    learned: set[Node] = field(default_factory=set)
    """Nodes whose value depends on a parameter or on the cache."""
    uses: list[tuple[Use, Axis, Node]] = field(default_factory=list)
    gathers: dict[tuple[Node, Node], Axes] = field(default_factory=dict)
    """(user, operand) to the operand's axes as that user sees them."""


@dataclass
class Site:
    """One node during the analysis."""

    walk: Walk
    node: Node

    def axes(self, operand: Any) -> Axes:
        """The axes of an operand; none for a number."""
        return self.walk.axes.get(operand, ()) if isinstance(operand, Node) else ()

    def shape(self) -> tuple[int | None, ...]:
        """The static sizes of the result, None where dynamic."""
        return static_shape(self.node)

    def new_axes(self) -> Axes:
        """An atom for each static dimension of the result."""
        return tuple(None if s is None else Atom(s) for s in self.shape())

    def use(self, use: Use, axis: Axis | None) -> None:
        """Note what the node does with an axis."""
        if axis is not None:
            self.walk.uses.append((use, axis, self.node))

    def unify(self, a: Axis | None, b: Axis | None) -> None:
        """Make two axes one; refuse both where they do not fit."""
        if a is None or b is None:
            return
        try:
            unify(a, b)
        except RefinementError as error:
            self.refuse(a, f"its parts do not line up with another operand's: {error}")
            self.refuse(b, f"its parts do not line up with another operand's: {error}")

    def refuse(self, axis: Axis | None, reason: str) -> None:
        """Mark an axis as one that cannot be cut, because of this node."""
        if axis is not None:
            refuse(axis, Refusal(reason, self.node.name, self.node.meta.get("source", "")))

    def operand(self, operand: Node) -> Axes:
        """An operand's axes for an elementwise operator.

        One that no parameter and no cache stands behind (a rotary table, a mask) may be shared
        by many structures: it gets atoms of its own here, and the cut gathers it at this use.
        """
        axes = self.axes(operand)
        if operand in self.walk.learned or self.node not in self.walk.learned:
            return axes
        key = (self.node, operand)
        if key not in self.walk.gathers:
            self.walk.gathers[key] = tuple(None if a is None else fresh_copy(a) for a in axes)
        return self.walk.gathers[key]


@dataclass
class CutSite:
    """One node during the cut: the copied node, and what stays of its axes."""

    walk: Walk
    before: Node
    node: Node
    graph: Graph
    selection: Selection
    add_buffer: Callable[[torch.Tensor], Node]

    def axes(self, operand: Any = None) -> Axes:
        """The axes of an operand of the original node; of its result where none is given."""
        return self.walk.axes.get(self.before if operand is None else operand, ())

    def is_cut(self, axis: Axis | None) -> bool:
        """Whether the selection removes part of this axis."""
        return is_cut(axis, self.selection)

    def kept_size(self, axis: Axis) -> int:
        """How many positions of the axis stay."""
        return len(kept(axis, self.selection))

    def set_argument(self, position: int, value: Any) -> None:
        """Replace one positional argument."""
        self.node.update_arg(position, value)


Relate = Callable[[Site], Sequence[Axis | None]]
"""From a node to the axes of its result, unifying and refusing on the way."""
Cut = Callable[[CutSite], None]
"""Rewrite the copied node's literals and operands for the sizes that stay."""


def keep_as_is(site: CutSite) -> None:
    """Leave the node alone: nothing in its arguments depends on a size."""


@dataclass(frozen=True)
class Rule:
    """How one family of operators relates axes, and how a node of it is cut."""

    relate: Relate
    cut: Cut = keep_as_is
