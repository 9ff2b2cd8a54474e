"""What an operator rule sees: one node, the axes of its operands, and a place for its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    fresh_copy,
    refuse,
    unify,
)
from prunec.passes.ir.selection import Selection, is_cut, kept
from prunec.passes.ir.shapes import example_size, is_dynamic

Axes = tuple[Axis, ...]
"""One axis for each dimension of a tensor. One of dynamic size has the size that it has for the
example sizes of the program's labels, and is refused."""


class Use(StrEnum):
    """What an operator does with an axis; structures are named by it."""

    PRODUCED = "produced"  # the output axis of a contraction with a weight, or of a lookup
    CONVOLVED = "convolved"  # the output channels of a convolution
    CONSUMED = "consumed"  # summed over by a contraction with a weight
    HEADS = "heads"  # counts the heads of an attention
    KEY_WIDTH = "key width"  # summed over between queries and keys
    VALUE_WIDTH = "value width"  # the width of an attention's values
    REPEATED = "repeated"  # made by expanding a dimension of size 1
    ROUTED = "routed"  # the best few of it are chosen by value


@dataclass
class Walk:
    """The state of one analysis over all entry points of a program."""

    axes: dict[Node, Axes] = field(default_factory=dict)
    parts: dict[Node, tuple[Axes, ...]] = field(default_factory=dict)
    """Nodes that return several tensors: the axes of each."""
    learned: set[Node] = field(default_factory=set)
    """Nodes whose value depends on a parameter or on the cache."""
    fed: set[Node] = field(default_factory=set)
    """Nodes whose value depends on an input: activations."""
    parametric: set[Node] = field(default_factory=set)
    """Nodes whose value is a parameter's, rearranged or chosen from: weights to contract with."""
    positions: dict[Node, Axis] = field(default_factory=dict)
    """Integer nodes whose values are positions along an axis."""
    chosen: list[tuple[Axis, Axis]] = field(default_factory=list)
    """(axis of a result, axis that its rows were chosen from)."""
    uses: list[tuple[Use, Axis, Node]] = field(default_factory=list)
    gathers: dict[tuple[Node, Node], Axes] = field(default_factory=dict)
    """(user, operand) to the operand's axes as that user sees them."""
    normalised: set[Atom] = field(default_factory=set)
    """Axes that a softmax ran over."""
    floors: list[tuple[Axis, int]] = field(default_factory=list)
    """How many positions of an axis an operator needs at least."""


@dataclass
class Site:
    """One node during the analysis."""

    walk: Walk
    node: Node

    def argument(self, name: str) -> Any:
        """An argument by the name that the operator's schema gives it."""
        return argument(self.node, name)

    def axes(self, operand: Any) -> Axes:
        """The axes of an operand; none for a number."""
        return self.walk.axes.get(operand, ()) if isinstance(operand, Node) else ()

    def shape(self) -> tuple[int, ...]:
        """The sizes of the result, dynamic ones by example."""
        return tuple(example_size(s) for s in self.node.meta["val"].shape)

    def new_axes(self) -> Axes:
        """An atom for each dimension of the result."""
        return new_axes(self.node, self.node.meta["val"])

    def use(self, use: Use, axis: Axis) -> None:
        """Note what the node does with an axis."""
        self.walk.uses.append((use, axis, self.node))

    def unify(self, a: Axis, b: Axis) -> None:
        """Make two axes one; refuse both where they do not fit."""
        try:
            unify(a, b)
        except RefinementError as error:
            self.refuse(a, f"its parts do not line up with another operand's: {error}")
            self.refuse(b, f"its parts do not line up with another operand's: {error}")

    def refuse(self, axis: Axis, reason: str) -> None:
        """Mark an axis as one that cannot be cut, because of this node."""
        refuse(axis, refusal(self.node, reason))

    def refuse_all(self, reason: str) -> Axes:
        """Refuse every axis that reaches the node; its result starts anew, refused too."""
        for operand in self.node.all_input_nodes:
            for axis in self.axes(operand):
                self.refuse(axis, reason)
        return self.refused_axes(reason)

    def refused_axes(self, reason: str) -> Axes:
        """New axes for the result, none of which can be cut."""
        result = self.new_axes()
        for axis in result:
            self.refuse(axis, reason)
        return result

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
            self.walk.gathers[key] = tuple(fresh_copy(a) for a in axes)
        return self.walk.gathers[key]


def argument(node: Node, name: str) -> Any:
    """An argument of a call by the name that the operator's schema gives it."""
    if name in node.kwargs:
        return node.kwargs[name]
    place, schema = _place(node, name)
    return node.args[place] if place < len(node.args) else schema.default_value


def _place(node: Node, name: str) -> tuple[int, Any]:
    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    for place, schema in enumerate(arguments):
        if schema.name == name:
            return place, schema
    raise LookupError(f"{node.target} has no argument {name}, but {[a.name for a in arguments]}")


def refusal(node: Node, reason: str) -> Refusal:
    """A reason, with the node that shows it and the model's source line."""
    return Refusal(reason, node.name, node.meta.get("source", ""))


def new_axes(node: Node, value: torch.Tensor) -> Axes:
    """An atom for each dimension of a value; those of dynamic size are refused."""
    dynamic = refusal(node, "its size is dynamic")
    return tuple(
        Atom(example_size(s), refusal=dynamic if is_dynamic(s) else None, is_dynamic=is_dynamic(s))
        for s in value.shape
    )


@dataclass
class CutSite:
    """One node during the cut: the copied node, and what stays of its axes.

    Attributes:
        walk: The finished analysis.
        before: The original node.
        node: Its copy, which is cut.
        graph: Of the copy.
        selection: What stays.
        copies: Every original node's copy, or what took its place.
        add_buffer: Makes an index table an input of the graph.
    """

    walk: Walk
    before: Node
    node: Node
    graph: Graph
    selection: Selection
    copies: dict[Node, Node]
    add_buffer: Callable[[torch.Tensor], Node]

    def argument(self, name: str) -> Any:
        """An argument of the original node by the name that the operator's schema gives it."""
        return argument(self.before, name)

    def axes(self, operand: Any = None) -> Axes:
        """The axes of an operand of the original node; of its result where none is given."""
        return self.walk.axes.get(self.before if operand is None else operand, ())

    def is_cut(self, axis: Axis) -> bool:
        """Whether the selection removes part of this axis."""
        return is_cut(axis, self.selection)

    def kept_size(self, axis: Axis) -> int:
        """How many positions of the axis stay."""
        return len(kept(axis, self.selection))

    def set_argument(self, name: str, value: Any) -> None:
        """Replace one argument, by the name that the operator's schema gives it."""
        place, schema = _place(self.node, name)
        if place < len(self.node.args) and name not in self.node.kwargs:
            self.node.update_arg(place, value)
        elif place == len(self.node.args) and not schema.kwarg_only and not self.node.kwargs:
            self.node.args = (*self.node.args, value)
        else:
            self.node.update_kwarg(name, value)

    def call(self, target: Any, *arguments: Any) -> Node:
        """Add a call in front of the node."""
        with self.graph.inserting_before(self.node):
            return self.graph.call_function(target, arguments)

    def replace_with(self, replacement: Node) -> None:
        """Let every reader of the node read another one."""
        self.node.replace_all_uses_with(replacement)
        self.graph.erase_node(self.node)
        self.copies[self.before] = replacement

    def scale_result(self, factor: float) -> None:
        """Let every reader of the node read it times a factor."""
        with self.graph.inserting_after(self.node):
            scaled = self.graph.call_function(torch.ops.aten.mul.Tensor, (self.node, factor))
        self.node.replace_all_uses_with(scaled, delete_user_cb=lambda user: user is not scaled)
        self.copies[self.before] = scaled


Relate = Callable[[Site], Sequence[Axis] | list[Axes]]
"""From a node to the axes of its result (of each result in a list where there are several),
unifying and refusing on the way."""
Cut = Callable[[CutSite], None]
"""Rewrite the copied node's literals and operands for the sizes that stay."""


def keep_as_is(site: CutSite) -> None:
    """Leave the node alone: nothing in its arguments depends on a size."""


@dataclass(frozen=True)
class Rule:
    """How one family of operators relates axes, how a node of it is cut, and how it is masked.

    Attributes:
        relate: Gives the result's axes.
        cut: Rewrites the copied node.
        neutral: Argument name to the value that a removed unit must have there for the node to
            compute what it computes without that unit; zero where not named.
        keeps_positions: Whether integers that are positions along an axis are so afterwards.
    """

    relate: Relate
    cut: Cut = keep_as_is
    neutral: Mapping[str, float] = field(default_factory=dict)
    keeps_positions: bool = False
