"""Blocks that mix tokens, look up tables, or read a weight that others read."""

from __future__ import annotations

import torch
from torch.fx import Node

from support.blocks.projecting import project
from support.blocks.steps import activate, norm, some_steps
from support.builder import TOKENS, Builder, aten


def positions(b: Builder, x: Node) -> Node:
    """Add learned positions: looked up, sliced from a table, or a parameter as it is."""
    form = b.pick("lookup", "slice", "naked")
    if form == "lookup":
        places = b.call(aten.arange.default, b.tokens)
        table = b.parameter("table", TOKENS + 120, b.width)
        return b.call(aten.add.Tensor, x, b.call(aten.embedding.default, table, places))
    if form == "naked" and not b.is_dynamic:
        return b.call(aten.add.Tensor, x, b.parameter("table", 1, TOKENS, b.width))
    table = b.parameter("table", TOKENS + 120, b.width)
    rows = b.call(aten.slice.Tensor, table, 0, 0, b.tokens)
    return b.call(aten.add.Tensor, x, b.call(aten.unsqueeze.default, rows, 0))


def pooled(b: Builder, x: Node) -> Node:
    """A gate from the mean over all tokens."""
    mean = b.call(aten.mean.dim, x, [1])
    hidden = b.random.randint(3, 6)
    down = b.call(aten.linear.default, mean, b.parameter("down", hidden, b.width))
    up = b.parameter("up", b.width, hidden)
    gate = b.call(aten.linear.default, activate(b, down, hidden), up)
    gate = b.call(aten.unsqueeze.default, b.call(aten.sigmoid.default, gate), 1)
    return b.call(aten.mul.Tensor, x, gate)


def convolved(b: Builder, x: Node) -> Node:
    """A convolution along the tokens: of all channels, of groups, or of each channel alone."""
    hidden = b.pick(4, 6)
    h = project(b, x, b.width, hidden, "in")
    turned = b.call(aten.transpose.int, h, 1, 2)
    groups = b.pick(1, 2, hidden)
    weight = b.parameter("kernel", hidden, hidden // groups, 3)
    bias = b.parameter("kernel_bias", hidden) if b.chance() else None
    y = b.call(aten.conv1d.default, turned, weight, bias, [1], [1], [1], groups)
    y = activate(b, b.call(aten.transpose.int, y, 2, 1), hidden)
    return project(b, y, hidden, b.width, "out")


def with_class(b: Builder, x: Node) -> Node:
    """A learned token in front, taken away again."""
    own = b.call(aten.expand.default, b.parameter("class", 1, 1, b.width), [b.batch, -1, -1])
    longer = b.call(aten.cat.default, [own, x], 1)
    h = norm(b, longer, b.width)
    if b.chance():
        first = b.call(aten.select.int, h, 1, 0)
        y = b.call(aten.add.Tensor, x, b.call(aten.unsqueeze.default, first, 1))
    else:
        y = b.call(aten.slice.Tensor, h, 1, 1, 2**63 - 1)
    if b.is_dynamic:
        return y
    return b.call(aten.roll.default, y, [1], [1]) if b.chance() else y


def tied(b: Builder, x: Node) -> Node:
    """A feed-forward that shares its weights with every other of its kind."""
    hidden = 6
    if "tied" not in b.shared:
        up, down = b.parameter("up", hidden, b.width), b.parameter("down", b.width, hidden)
        b.shared["tied"] = [b.reads[up.name], b.reads[down.name]]
    else:
        up, down = (b.read(name) for name in b.shared["tied"])
    h = some_steps(b, b.call(aten.linear.default, x, up), hidden)
    return b.call(aten.linear.default, h, down)


def transposed(b: Builder, x: Node) -> Node:
    """The same weight read in both directions."""
    hidden = b.random.randint(3, 8)
    weight = b.parameter("both", hidden, b.width)
    h = activate(b, b.call(aten.linear.default, x, weight), hidden)
    return b.call(aten.matmul.default, h, weight)


def recurrent(b: Builder, x: Node) -> Node:
    """A recurrent layer along the tokens, in one direction or both."""
    if b.is_dynamic:
        return transposed(b, x)  # torch spells such a layer out for a fixed number of tokens
    form, both = b.pick("lstm", "gru", "rnn_tanh"), b.chance()
    read, state = b.random.randint(4, 7), b.random.randint(3, 5)
    h = project(b, x, b.width, read, "in")
    gates = {"lstm": 4, "gru": 3, "rnn_tanh": 1}[form] * state
    weights = [
        b.parameter(f"{role}{direction}", *shape)
        for direction in range(2 if both else 1)
        for role, shape in (("read", (gates, read)), ("kept", (gates, state)))
    ]
    first = b.call(aten.zeros.default, [len(weights) // 2, b.batch, state], dtype=torch.float64)
    states = [first, first] if form == "lstm" else first
    layer = getattr(aten, form).input
    y = b.part(b.call(layer, h, states, weights, False, 1, 0.0, False, both, True), 0)
    return project(b, y, len(weights) // 2 * state, b.width, "out")


def stepping(b: Builder, x: Node) -> Node:
    """Steps on the stream itself."""
    return some_steps(b, x, b.width, most=3)
