"""Tell the layers of a model apart: by its residual branches, from the input to the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.branches import Branch
from prunec.passes.analysis.coupling.site import Use
from prunec.passes.analysis.coupling.structures import Coupling, Structure

SPANNING = ("residual", "layer")
"""Kinds that run through the whole depth: they lie in no layer."""

_ATTENDS = (Use.HEADS, Use.KEY_WIDTH, Use.VALUE_WIDTH)
_SLIDES = frozenset(
    getattr(torch.ops.aten, name)
    for name in ("conv1d", "conv2d", "conv3d", "convolution", "lstm", "gru", "rnn_tanh", "rnn_relu")
)
"""Operators that let one position see others and are no attention."""


@dataclass(frozen=True)
class Layer:
    """What lies at one depth of a model.

    Attributes:
        structures: The names of the structures that some of its weights carry. One that runs
            through several layers lies in each of them.
        weights: The parameters that its branches alone read, by name.
    """

    structures: frozenset[str]
    weights: frozenset[str]


@dataclass(frozen=True)
class _Step:
    """Branches beside each other, which are computed from one value of the stream."""

    branches: tuple[Branch, ...]
    attends: bool
    slides: bool

    @property
    def mixes(self) -> bool:
        """Whether one position sees another."""
        return self.attends or self.slides


def find_layers(coupling: Coupling) -> tuple[Layer, ...]:
    """The layers in the order in which they run, those of all streams one after the other.

    A layer begins where branches that mix positions (attention, convolution, recurrence, whatever
    keeps a cache) follow others that do not. Where all branches of a stream mix, or none does, it
    begins where a branch does as an earlier one of the layer: both attend, or both slide.
    Branches within others, and branches beside each other, are of one layer.

    Where no structure lies in a residual branch, a structure's place among those of its kind is
    its depth.
    """
    within = [s for s in coupling.structures if s.kind not in SPANNING]
    inner = {node for found in coupling.branches for b in found.branches for node in b.own}
    layers = [
        _layer(group, within)
        for found in coupling.branches
        for group in _groups(_steps([b for b in found.branches if b.add not in inner], coupling))
    ]
    return tuple(layers) if any(layer.structures for layer in layers) else _by_place(within)


def _layer(steps: Sequence[_Step], within: Sequence[Structure]) -> Layer:
    weights = frozenset(name for s in steps for b in s.branches for name in b.parameters)
    return Layer(frozenset(s.name for s in within if _reads(s) & weights), weights)


def _by_place(within: Sequence[Structure]) -> tuple[Layer, ...]:
    depth = 1 + max((s.index for s in within), default=-1)
    return tuple(
        Layer(frozenset(s.name for s in within if s.index == index), frozenset())
        for index in range(depth)
    )


def _reads(structure: Structure) -> set[str]:
    return {member.weight for member in structure.members}


def _steps(branches: Sequence[Branch], coupling: Coupling) -> list[_Step]:
    """The branches of one stream, those beside each other together."""
    attending = {node for use, _, node in coupling.walk.uses if use in _ATTENDS}
    groups: list[list[Branch]] = []
    for branch in branches:
        if not groups or branch.source is branch.stream:
            groups.append([])
        groups[-1].append(branch)
    return [_step(group, attending) for group in groups]


def _step(branches: Sequence[Branch], attending: set[Node]) -> _Step:
    return _Step(
        tuple(branches),
        attends=any(branch.kv_bytes or branch.own & attending for branch in branches),
        slides=any(_slides(node) for branch in branches for node in branch.own),
    )


def _slides(node: Node) -> bool:
    return getattr(node.target, "overloadpacket", None) in _SLIDES


def _groups(steps: Sequence[_Step]) -> list[list[_Step]]:
    """The steps of each layer of one stream."""
    begins = _follows if len({step.mixes for step in steps}) == 2 else _repeats
    groups: list[list[_Step]] = []
    for step in steps:
        if not groups or begins(step, groups[-1]):
            groups.append([])
        groups[-1].append(step)
    return groups


def _follows(step: _Step, layer: Sequence[_Step]) -> bool:
    return step.mixes and not layer[-1].mixes


def _repeats(step: _Step, layer: Sequence[_Step]) -> bool:
    return any((step.attends, step.slides) == (e.attends, e.slides) for e in layer)
