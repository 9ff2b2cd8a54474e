"""Feed-forward blocks: plain, gated, fused into one weight, joined from several."""

from __future__ import annotations

from torch.fx import Node

from support.blocks.projecting import project
from support.blocks.steps import activate, some_steps
from support.builder import Builder, aten


def plain(b: Builder, x: Node) -> Node:
    """Up, a few steps, down."""
    hidden = b.random.randint(4, 12)
    h = project(b, x, b.width, hidden, "up")
    h = some_steps(b, activate(b, h, hidden), hidden)
    return project(b, h, hidden, b.width, "down")


def gated(b: Builder, x: Node) -> Node:
    """Gate and up as two weights."""
    hidden = b.random.randint(4, 12)
    gate = activate(b, project(b, x, b.width, hidden, "gate"), hidden)
    up = some_steps(b, project(b, x, b.width, hidden, "up"), hidden)
    h = b.call(aten.mul.Tensor, gate, up)
    return project(b, some_steps(b, h, hidden, most=1), hidden, b.width, "down")


def fused(b: Builder, x: Node) -> Node:
    """Gate and up in one weight, taken apart in every way there is."""
    hidden = b.random.randint(4, 10)
    both = project(b, x, b.width, 2 * hidden, "gate_up")
    form = b.pick("chunk", "split", "sizes", "slice", "glu", "pairs", "strides", "unbind")
    if form == "glu":
        return project(b, b.call(aten.glu.default, both, -1), hidden, b.width, "down")
    gate, up = _halves(b, both, hidden, form)
    h = b.call(aten.mul.Tensor, activate(b, gate, hidden), some_steps(b, up, hidden, most=1))
    return project(b, h, hidden, b.width, "down")


def _halves(b: Builder, both: Node, hidden: int, form: str) -> tuple[Node, Node]:
    if form == "slice":
        return (
            b.call(aten.slice.Tensor, both, -1, 0, hidden),
            b.call(aten.slice.Tensor, both, -1, hidden, 2 * hidden),
        )
    if form == "strides":
        return (
            b.call(aten.slice.Tensor, both, -1, 0, 2**63 - 1, 2),
            b.call(aten.slice.Tensor, both, 2, 1, 2 * hidden, 2),
        )
    if form == "pairs":
        pairs = b.call(aten.view.default, both, [b.batch, b.tokens, hidden, 2])
        return b.call(aten.select.int, pairs, -1, 0), b.call(aten.select.int, pairs, 3, 1)
    if form == "unbind":
        rows = b.call(aten.unflatten.int, both, 2, [2, hidden])
        parts = b.call(aten.unbind.int, rows, b.pick(2, -2))
    elif form == "chunk":
        parts = b.call(aten.chunk.default, both, 2, -1)
    elif form == "split":
        parts = b.call(aten.split.Tensor, both, hidden, 2)
    else:
        parts = b.call(aten.split_with_sizes.default, both, [hidden, hidden], -1)
    return b.part(parts, 0), b.part(parts, 1)


def joined(b: Builder, x: Node) -> Node:
    """Several small feed-forwards side by side, joined before they come down."""
    sizes = [b.random.randint(2, 6) for _ in range(b.random.randint(2, 3))]
    parts = [
        some_steps(b, project(b, x, b.width, n, f"up{i}"), n, most=1) for i, n in enumerate(sizes)
    ]
    h = b.call(aten.cat.default, parts, b.pick(-1, 2))
    return project(b, some_steps(b, h, sum(sizes), most=1), sum(sizes), b.width, "down")


def stacked(b: Builder, x: Node) -> Node:
    """Two feed-forwards stacked on a dimension of their own, summed over it or picked from it."""
    hidden = b.random.randint(3, 8)
    parts = [activate(b, project(b, x, b.width, hidden, f"up{i}"), hidden) for i in range(2)]
    h = b.call(aten.stack.default, parts, b.pick(0, -2))
    dim = 0 if h.args[1] == 0 else 2
    form = b.pick("sum", "mean", "amax", "select", "unbind")
    if form == "select":
        y = b.call(aten.select.int, h, dim, 1)
    elif form == "unbind":
        both = b.call(aten.unbind.int, h, dim)
        first, second = (b.part(both, i) for i in range(2))
        y = b.call(aten.sub.Tensor, first, second)
    elif form == "amax":
        y = b.call(aten.amax.default, h, [dim])
    else:
        y = b.call(aten.sum.dim_IntList if form == "sum" else aten.mean.dim, h, [dim])
    return project(b, y, hidden, b.width, "down")


def repeated(b: Builder, x: Node) -> Node:
    """A hidden dimension that is repeated: each unit is read several times by the next weight."""
    hidden, times = b.random.randint(2, 5), b.pick(2, 3)
    h = activate(b, project(b, x, b.width, hidden, "up"), hidden)
    form = b.pick("interleave", "repeat", "tile", "expand", "broadcast")
    if form == "interleave":
        h = b.call(aten.repeat_interleave.self_int, h, times, -1)
    elif form in ("repeat", "tile"):
        h = b.call(getattr(aten, form).default, h, [1, 1, times])
    else:
        op = aten.expand.default if form == "expand" else aten.broadcast_to.default
        shape = [b.batch, b.tokens, times, hidden]
        h = b.call(op, b.call(aten.unsqueeze.default, h, 2), shape)
        h = b.call(aten.reshape.default, h, [b.batch, b.tokens, times * hidden])
    return project(b, h, times * hidden, b.width, "down")
