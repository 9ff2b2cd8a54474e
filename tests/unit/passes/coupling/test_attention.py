"""Attention as one operator: batches, heads in groups, masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from torch.fx import Node

from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import ROWS, Step, largest_law_error, offered, through

ATTENTION = aten.scaled_dot_product_attention.default
WIDTH = 4


def attend(batch: int, heads: int, kv_heads: int, mask: Sequence[int] = (), **more: Any) -> Step:
    """Rows look at one another, with heads and a batch that are made of channels."""

    def step(b: Builder, h: Node) -> Node:
        def part(role: str, count: int) -> Node:
            weight = b.parameter(role, batch * count * WIDTH, 8)
            y = b.call(aten.linear.default, h, weight)
            y = b.call(aten.view.default, y, [ROWS, batch, count, WIDTH])
            return b.call(aten.permute.default, y, [1, 2, 0, 3])

        parts = (part("q", heads), part("k", kv_heads), part("v", kv_heads))
        bias = b.buffer("bias", b.noise(*mask)) if mask else None
        y = b.call(ATTENTION, *parts, bias, **more)
        y = b.call(aten.permute.default, y, [2, 0, 1, 3])
        return b.call(aten.reshape.default, y, [ROWS, batch * heads * WIDTH])

    return step


def test_batches_that_are_made_of_channels_go_together() -> None:
    program = through(attend(3, 2, 2), after=24)
    assert ("ffn-channel", 3) in offered(program)
    assert largest_law_error(program) < ROUNDING


def test_heads_of_a_group_are_named_so() -> None:
    program = through(attend(1, 6, 3, enable_gqa=True), after=24)
    kinds = [("kv-group", 3), ("kv-latent", 8), ("qk-dim", 4), ("query-head-in-group", 2)]
    assert offered(program) == [*kinds, ("vo-dim", 4)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("shape", [(3, ROWS, ROWS), (2, 3, ROWS, ROWS), (2, 1, 1, ROWS)])
def test_a_mask_with_heads_or_batches_is_gathered(shape: tuple[int, ...]) -> None:
    program = through(attend(2, 3, 3, mask=shape), after=24)
    assert {("head", 3), ("ffn-channel", 2)} <= set(offered(program))
    assert largest_law_error(program) < ROUNDING
