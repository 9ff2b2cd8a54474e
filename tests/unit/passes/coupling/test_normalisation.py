"""Norms as one operator: statistics that stay, and groups that do not line up."""

from __future__ import annotations

import pytest
import torch
from torch.fx import Node

from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import ROWS, largest_law_error, offered, reasons, through


@pytest.mark.parametrize("op", [aten.layer_norm, aten.rms_norm])
@pytest.mark.parametrize("shape", [[8], [ROWS, 8]])
@pytest.mark.parametrize("more", [(), (1e-2,)])
def test_statistics_stay_those_of_all_channels(
    op: torch._ops.OpOverloadPacket, shape: list[int], more: tuple[float, ...]
) -> None:
    def step(b: Builder, h: Node) -> Node:
        weight = b.parameter("scale", *shape, around=1.0)
        shift = (b.parameter("shift", *shape),) if op is aten.layer_norm else ()
        return b.call(op.default, h, shape, weight, *shift, *more)

    program = through(step)
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


def test_whole_groups_of_a_group_norm_may_go() -> None:
    def step(b: Builder, h: Node) -> Node:
        scale, shift = (b.parameter(role, 8, around=1.0) for role in ("scale", "shift"))
        return b.call(aten.group_norm.default, h, 4, scale, shift, 1e-3)

    program = through(step)
    assert offered(program) == [("ffn-channel", 4)]
    assert reasons(program, "start.up", 0) == ["a group norm takes its mean over it"]
    assert largest_law_error(program) < ROUNDING


def test_groups_of_a_norm_that_do_not_line_up_refuse_the_channels() -> None:
    def step(b: Builder, h: Node) -> Node:
        parts = b.call(aten.split_with_sizes.default, h, [3, 5], 1)
        both = b.call(aten.cat.default, [b.part(parts, 1), b.part(parts, 0)], 1)
        return b.call(aten.group_norm.default, both, 2)

    program = through(step)
    assert not offered(program)
    for weight, dim in (("start.up", 0), ("start.down", 1)):
        assert any("groups do not line up" in reason for reason in reasons(program, weight, dim))


@pytest.mark.parametrize("is_training", [False, True])
def test_a_batch_norm_shares_its_channels_unless_it_is_training(is_training: bool) -> None:
    def step(b: Builder, h: Node) -> Node:
        scale, shift = (b.parameter(role, 8, around=1.0) for role in ("scale", "shift"))
        mean, variance = b.buffer("mean", b.noise(8)), b.buffer("variance", b.noise(8).exp())
        fixed = (scale, shift, mean, variance)
        return b.call(aten.batch_norm.default, h, *fixed, is_training, 0.1, 1e-3, False)

    program = through(step)
    if is_training:
        assert not offered(program)
        assert "statistics are taken from the batch" in reasons(program, "start.up", 0)[0]
    else:
        assert offered(program) == [("ffn-channel", 8)]
        assert largest_law_error(program) < ROUNDING
