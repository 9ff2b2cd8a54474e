"""Reductions over channels, some of which are removed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.fx import Node

from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import largest_law_error, offered, reasons, through

Reduce = Callable[[Builder, Node], Node]

# All channels lie below zero, or above it: a removed one at zero would be the largest or smallest.
LARGEST: dict[str, Reduce] = {
    "amax": lambda b, h: b.call(aten.amax.default, h, [1], True),
    "max": lambda b, h: b.call(aten.max.default, h),
    "max.dim": lambda b, h: b.part(b.call(aten.max.dim, h, 1, True), 0),
    "logsumexp": lambda b, h: b.call(aten.logsumexp.default, h, [1], True),
    "softmax": lambda b, h: b.call(aten.softmax.int, h, 1),
    "_softmax": lambda b, h: b.call(aten._softmax.default, h, 1, False),
    "log_softmax": lambda b, h: b.call(aten.log_softmax.int, h, 1),
}
SMALLEST: dict[str, Reduce] = {
    "amin": lambda b, h: b.call(aten.amin.default, h, [1], True),
    "min": lambda b, h: b.call(aten.min.default, h),
    "min.dim": lambda b, h: b.part(b.call(aten.min.dim, h, 1, True), 0),
}
MEANS: dict[str, Reduce] = {
    "one": lambda b, h: b.call(aten.mean.dim, h, [1], True),
    "one dropped": lambda b, h: b.call(aten.unsqueeze.default, b.call(aten.mean.dim, h, [1]), 1),
    "both": lambda b, h: b.call(aten.mean.dim, h, [0, 1], True),
    "all": lambda b, h: b.call(aten.mean.default, h),
}


@pytest.mark.parametrize("name", [*LARGEST, *SMALLEST])
def test_a_removed_channel_is_neither_largest_nor_smallest(name: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        moved = b.call(aten.add.Tensor, h, -9.0 if name in LARGEST else 9.0)
        return b.call(aten.mul.Tensor, h, (LARGEST | SMALLEST)[name](b, moved))

    program = through(step)
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("name", MEANS)
def test_a_removed_channel_still_counts_in_a_mean(name: str) -> None:
    program = through(lambda b, h: b.call(aten.mul.Tensor, h, MEANS[name](b, h)))
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("op", [aten.max, aten.min])
def test_where_the_largest_was_found_is_a_number_that_refuses_the_axis(
    op: torch._ops.OpOverloadPacket,
) -> None:
    def step(b: Builder, h: Node) -> Node:
        place = b.part(b.call(op.dim, h, 1, True), 1)
        return b.call(aten.mul.Tensor, h, b.call(aten.to.dtype, place, torch.float64))

    program = through(step)
    assert not offered(program)
    assert "largest value is used as a number" in reasons(program, "start.up", 0)[0]


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("op", [aten.var_mean.dim, aten.std_mean.dim])
def test_two_statistics_at_once_refuse_what_they_run_over_and_pass_the_rest(
    op: torch._ops.OpOverload, dim: int
) -> None:
    def step(b: Builder, h: Node) -> Node:
        both = b.call(op, h, [dim], False, True)
        return b.call(aten.mul.Tensor, h, b.call(aten.add.Tensor, b.part(both, 0), b.part(both, 1)))

    program = through(step)
    if dim == 1:
        assert not offered(program)
        assert any("counts removed units" in reason for reason in reasons(program, "start.up", 0))
    else:
        assert offered(program) == [("ffn-channel", 8)]
        assert largest_law_error(program) < ROUNDING


def test_a_sum_that_skips_what_is_no_number_passes_over_removed_channels() -> None:
    program = through(
        lambda b, h: b.call(aten.mul.Tensor, h, b.call(aten.nansum.default, h, [1], True))
    )
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("op", [aten.var.dim, aten.std.dim])
def test_a_variance_over_channels_refuses_them(op: torch._ops.OpOverload) -> None:
    program = through(lambda b, h: b.call(aten.mul.Tensor, h, b.call(op, h, [1], False, True)))
    assert not offered(program)
    assert any("counts removed units" in reason for reason in reasons(program, "start.up", 0))
