"""Sums over an axis: biases without parameters, vectors, and attention spelled out."""

from __future__ import annotations

import pytest
from torch.fx import Node

from support.builder import Builder, aten
from support.laws import ROUNDING
from support.small_programs import ROWS, Step, largest_law_error, offered, through


def linear(b: Builder, h: Node) -> Node:
    bias = b.buffer("bias", b.noise(8))
    return b.call(aten.linear.default, h, b.parameter("weight", 8, 8), bias)


def addmm(b: Builder, h: Node) -> Node:
    bias = b.buffer("bias", b.noise(8))
    return b.call(aten.addmm.default, bias, h, b.parameter("weight", 8, 8))


def baddbmm(b: Builder, h: Node) -> Node:
    pairs = b.call(aten.permute.default, b.call(aten.view.default, h, [ROWS, 2, 4]), [1, 0, 2])
    bias = b.buffer("bias", b.noise(2, 1, 4))
    y = b.call(aten.baddbmm.default, bias, pairs, b.parameter("weight", 2, 4, 4))
    return b.call(aten.reshape.default, b.call(aten.permute.default, y, [1, 0, 2]), [ROWS, 8])


@pytest.mark.parametrize("step", [linear, addmm, baddbmm])
def test_a_bias_without_parameters_is_gathered(step: object) -> None:
    program = through(step)  # type: ignore[arg-type]
    sizes = [("ffn-channel", size) for size in ((2, 4, 4) if step is baddbmm else (8, 8))]
    assert offered(program) == sizes
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("op", [aten.matmul, aten.mv])
def test_channels_are_summed_into_a_vector(op: object) -> None:
    def step(b: Builder, h: Node) -> Node:
        y = b.call(op.default, h, b.parameter("vector", 8))  # type: ignore[attr-defined]
        return b.call(aten.unsqueeze.default, y, 1)

    program = through(step, after=1)
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


def test_a_vector_is_multiplied_from_the_left() -> None:
    def step(b: Builder, h: Node) -> Node:
        turned = b.call(aten.t.default, h)
        y = b.call(aten.matmul.default, b.parameter("vector", 8), turned)
        return b.call(aten.unsqueeze.default, y, 1)

    program = through(step, after=1)
    assert offered(program) == [("ffn-channel", 8)]
    assert largest_law_error(program) < ROUNDING


@pytest.mark.parametrize("form", ["matmul", "einsum"])
def test_attention_that_is_spelled_out_has_heads_and_widths(form: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        def part(role: str, width: int) -> Node:
            y = b.call(aten.linear.default, h, b.parameter(role, 3 * width, 8))
            y = b.call(aten.view.default, y, [ROWS, 3, width])
            return b.call(aten.permute.default, y, [1, 0, 2])

        q, k, v = part("q", 4), part("k", 4), part("v", 5)
        if form == "matmul":
            scores = b.call(aten.matmul.default, q, b.call(aten.transpose.int, k, 1, 2))
        else:
            scores = b.call(aten.einsum.default, "hqd,hkd->hqk", [q, k])
        weights = b.call(aten.softmax.int, scores, -1)
        if form == "matmul":
            y = b.call(aten.matmul.default, weights, v)
        else:
            y = b.call(aten.einsum.default, "hqk,hkd->hqd", [weights, v])
        y = b.call(aten.permute.default, y, [1, 0, 2])
        return b.call(aten.reshape.default, y, [ROWS, 15])

    program = through(step, after=15)
    assert offered(program) == [("head", 3), ("kv-latent", 8), ("qk-dim", 4), ("vo-dim", 5)]
    assert largest_law_error(program) < ROUNDING


PRODUCERS: dict[str, Step] = {
    "linear": lambda b, h: b.call(aten.linear.default, h, b.parameter("back", 8, 6)),
    "addmm": lambda b, h: b.call(
        aten.addmm.default, b.parameter("bias", 8), h, b.parameter("back", 6, 8)
    ),
    "matmul": lambda b, h: b.call(aten.matmul.default, h, b.parameter("back", 6, 8)),
    "einsum": lambda b, h: b.call(aten.einsum.default, "nd,ed->ne", [h, b.parameter("back", 8, 6)]),
    "conv1d": lambda b, h: b.call(
        aten.squeeze.dim,
        b.call(
            aten.conv1d.default,
            b.call(aten.unsqueeze.default, h, 2),
            b.parameter("back", 8, 6, 1),
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", PRODUCERS)
def test_a_stream_that_a_contraction_adds_to_is_residual(name: str) -> None:
    def step(b: Builder, h: Node) -> Node:
        inner = b.call(aten.linear.default, h, b.parameter("inner", 6, 8))
        back = PRODUCERS[name](b, b.call(aten.tanh.default, inner))
        return b.call(aten.add.Tensor, h, back)

    program = through(step)
    assert offered(program) == [("ffn-channel", 6), ("layer", 1), ("residual", 8)]
    assert largest_law_error(program) < ROUNDING
