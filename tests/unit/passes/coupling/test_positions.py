"""Positions along an axis that were chosen by value, on their way to where they are used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.fx import Node

from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import ROWS, largest_law_error, offered, reasons, through

BEST = 2
F64 = torch.float64
Way = Callable[[Builder, Node], Node]

WAYS: dict[str, Way] = {
    "clone": lambda b, p: b.call(aten.clone.default, p),
    "to": lambda b, p: b.call(aten.to.other, p, p),
    "type_as": lambda b, p: b.call(aten.type_as.default, p, p),
    "slice": lambda b, p: b.call(aten.slice.Tensor, p, 1, 0, 1),
    "select": lambda b, p: b.call(aten.unsqueeze.default, b.call(aten.select.int, p, 1, 1), 1),
    "split": lambda b, p: b.part(b.call(aten.split.Tensor, p, 1, 1), 1),
    "view": lambda b, p: b.call(
        aten.view.default, b.call(aten.view.default, p, [20]), [ROWS, BEST]
    ),
    "flatten": lambda b, p: b.call(
        aten.unflatten.int, b.call(aten.flatten.using_ints, p), 0, [ROWS, BEST]
    ),
    "expand": lambda b, p: b.call(aten.expand.default, p, [ROWS, BEST]),
    "broadcast_to": lambda b, p: b.call(aten.broadcast_to.default, p, [ROWS, BEST]),
    "expand_as": lambda b, p: b.call(aten.expand_as.default, p, p),
    "repeat": lambda b, p: b.call(aten.repeat.default, p, [1, 1]),
    "tile": lambda b, p: b.call(aten.tile.default, p, [1, 1]),
    "repeat_interleave": lambda b, p: b.call(aten.repeat_interleave.self_int, p, 1, 1),
    "transpose": lambda b, p: b.call(aten.transpose.int, b.call(aten.transpose.int, p, 0, 1), 0, 1),
    "swapaxes": lambda b, p: b.call(
        aten.swapaxes.default, b.call(aten.swapaxes.default, p, 0, 1), 0, 1
    ),
    "t": lambda b, p: b.call(aten.t.default, b.call(aten.t.default, p)),
    "T": lambda b, p: b.call(aten.numpy_T.default, b.call(aten.numpy_T.default, p)),
    "mT": lambda b, p: b.call(aten.mT.default, b.call(aten.mT.default, p)),
    "permute": lambda b, p: b.call(
        aten.permute.default, b.call(aten.permute.default, p, [1, 0]), [1, 0]
    ),
    "movedim": lambda b, p: b.call(aten.movedim.int, b.call(aten.movedim.int, p, 0, 1), 1, 0),
    "squeeze": lambda b, p: b.call(aten.squeeze.dim, b.call(aten.unsqueeze.default, p, 0), 0),
}


def best_by(b: Builder, h: Node) -> Node:
    """The positions of the two largest of eight channels: [10, 2]."""
    return b.part(b.call(aten.topk.default, h, BEST, -1), 1)


@pytest.mark.parametrize("way", WAYS)
def test_positions_that_are_passed_on_are_still_positions(way: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        return b.call(aten.gather.default, h, 1, WAYS[way](b, best_by(b, h)))

    program = through(step, after=1 if way in ("slice", "select", "split") else BEST)
    assert offered(program) == [("expert", 8)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("way", WAYS)
def test_positions_that_become_numbers_refuse_the_axis(way: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        return b.call(aten.to.dtype, b.call(aten.add.Tensor, WAYS[way](b, best_by(b, h)), 1), F64)

    program = through(step, after=1 if way in ("slice", "select", "split") else BEST)
    assert not offered(program)
    assert any("uses positions along it as numbers" in r for r in reasons(program, "start.up", 0))


def test_positions_choose_from_another_tensor_with_the_same_axis() -> None:
    def step(b: Builder, h: Node) -> Node:
        other = b.call(aten.linear.default, h, b.parameter("other", 8, 8))
        return b.call(aten.gather.default, other, 1, best_by(b, h))

    program = through(step, after=BEST)
    assert offered(program) == [("expert", 8)]
    assert largest_law_error(program) < ROUNDING
