"""From a stream to queries, keys and values by head, and back."""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import Node

from support.blocks.projecting import project
from support.builder import Builder, aten


@dataclass(frozen=True)
class Heads:
    """Sizes of one attention."""

    groups: int
    repeats: int
    key_width: int
    value_width: int

    @property
    def count(self) -> int:
        """Query heads."""
        return self.groups * self.repeats


def project_heads(b: Builder, x: Node, heads: Heads) -> tuple[Node, Node, Node]:
    """Queries, keys and values [batch, head, token, width]."""
    forms = ["apart", "apart", "fused"]
    if heads.key_width == heads.value_width:
        forms.append("by group")
        if heads.repeats == 1:
            forms += ["three", "by head"]
    form = b.pick(*forms)
    if form == "apart":
        return _apart(b, x, heads)
    if form == "fused":
        return _fused(b, x, heads)
    return _interleaved(b, x, heads, form)


def _apart(b: Builder, x: Node, heads: Heads) -> tuple[Node, Node, Node]:
    wanted = (
        ("q", heads.count, heads.key_width),
        ("k", heads.groups, heads.key_width),
        ("v", heads.groups, heads.value_width),
    )
    q, k, v = (_one(b, x, role, count, width) for role, count, width in wanted)
    return q, k, v


def _one(b: Builder, x: Node, role: str, count: int, width: int) -> Node:
    if b.chance(0.2):
        weight = b.parameter(role, count, width, b.width)
        return b.call(aten.einsum.default, "btc,hdc->bhtd", [x, weight])
    return _split(b, project(b, x, b.width, count * width, role), count, width)


def _split(b: Builder, y: Node, count: int, width: int) -> Node:
    """[batch, token, count × width] -> [batch, count, token, width]."""
    form = b.pick("view", "reshape", "open", "unflatten")
    if form == "unflatten":
        split = b.call(aten.unflatten.int, y, -1, b.pick([count, width], [-1, width]))
    else:
        op = aten.reshape.default if form == "reshape" else aten.view.default
        open_size = -1 if form == "open" else count
        source = y if form == "reshape" else b.call(aten.contiguous.default, y)
        split = b.call(op, source, [b.batch, b.tokens, open_size, width])
    return _swap(b, split)


def _swap(b: Builder, x: Node) -> Node:
    """Swap dimensions 1 and 2."""
    form = b.pick("transpose", "swapaxes", "permute", "movedim")
    if form == "permute":
        return b.call(aten.permute.default, x, b.pick([0, 2, 1, 3], [0, -2, 1, -1]))
    if form == "movedim":
        return b.call(aten.movedim.int, x, *b.pick((1, 2), (2, 1), (-2, 1)))
    return b.call(_SWAPS[form], x, *b.pick((1, 2), (2, 1), (-3, -2)))


_SWAPS = {"transpose": aten.transpose.int, "swapaxes": aten.swapaxes.default}


def _fused(b: Builder, x: Node, heads: Heads) -> tuple[Node, Node, Node]:
    """One weight: all queries, then all keys, then all values."""
    sizes = [
        heads.count * heads.key_width,
        heads.groups * heads.key_width,
        heads.groups * heads.value_width,
    ]
    y = project(b, x, b.width, sum(sizes), "qkv")
    form = b.pick("sizes", "slice", "heads")
    if form == "heads" and heads.key_width == heads.value_width:
        return _fused_heads(b, y, heads)
    if form == "sizes":
        parts = b.call(aten.split_with_sizes.default, y, sizes, -1)
        q, k, v = (b.part(parts, i) for i in range(3))
    else:
        ends = [sizes[0], sizes[0] + sizes[1], b.pick(2**63 - 1, sum(sizes))]
        starts = [0, *ends[:2]]
        q, k, v = (
            b.call(aten.slice.Tensor, y, 2, start, end)
            for start, end in zip(starts, ends, strict=True)
        )
    return (
        _split(b, q, heads.count, heads.key_width),
        _split(b, k, heads.groups, heads.key_width),
        _split(b, v, heads.groups, heads.value_width),
    )


def _fused_heads(b: Builder, y: Node, heads: Heads) -> tuple[Node, Node, Node]:
    """Split into heads first, as Falcon and BigCode do, then into queries, keys and values."""
    counts = [heads.count, heads.groups, heads.groups]
    parts = b.call(
        aten.split_with_sizes.default, _split(b, y, sum(counts), heads.key_width), counts, 1
    )
    q, k, v = (b.part(parts, i) for i in range(3))
    return q, k, v


def _interleaved(b: Builder, x: Node, heads: Heads, form: str) -> tuple[Node, Node, Node]:
    """One weight in which every head or group has its queries, keys and values together."""
    width = heads.key_width
    if form == "by group":
        rows = heads.repeats + 2
        y = project(b, x, b.width, heads.groups * rows * width, "qkv")
        y = b.call(aten.view.default, y, [b.batch, b.tokens, heads.groups, rows, width])
        q = b.call(aten.slice.Tensor, y, 3, 0, heads.repeats)
        q = b.call(aten.reshape.default, q, [b.batch, b.tokens, heads.count, width])
        if b.chance():
            k, v = (b.call(aten.select.int, y, 3, i) for i in (-2, -1))
        else:
            last = [b.call(aten.slice.Tensor, y, 3, n, n + 1) for n in (rows - 2, rows - 1)]
            k, v = (b.call(aten.squeeze.dim, part, 3) for part in last)
        return _swap(b, q), _swap(b, k), _swap(b, v)
    y = project(b, x, b.width, heads.count * 3 * width, "qkv")
    if form == "by head":
        y = _split(b, y, heads.count, 3 * width)
        parts = b.call(aten.chunk.default, y, 3, -1)
        q, k, v = (b.part(parts, i) for i in range(3))
        return q, k, v
    y = b.call(aten.view.default, y, [b.batch, b.tokens, 3, heads.count, width])
    y = b.call(aten.permute.default, y, [2, 0, 3, 1, 4])
    if b.chance():
        parts = b.call(aten.unbind.int, y)
        q, k, v = (b.part(parts, i) for i in range(3))
    else:
        q, k, v = (b.call(aten.select.int, y, 0, i) for i in range(3))
    return q, k, v


def merge_heads(b: Builder, y: Node, heads: Heads) -> Node:
    """[batch, head, token, value width] back to the stream's width."""
    if b.chance(0.2):
        weight = b.parameter("out", heads.count, heads.value_width, b.width)
        return b.call(aten.einsum.default, "bhtd,hdc->btc", [y, weight])
    wide = heads.count * heads.value_width
    y = b.call(aten.contiguous.default, _swap(b, y))
    form = b.pick("view", "reshape", "flatten", "open")
    if form == "flatten":
        y = b.call(aten.flatten.using_ints, y, b.pick(2, -2))
    elif form == "open":
        y = b.call(aten.reshape.default, y, [b.batch, b.tokens, -1])
    else:
        y = b.call(getattr(aten, form).default, y, [b.batch, b.tokens, wide])
    return project(b, y, wide, b.width, "out")
