"""What comes before, between and after the blocks of a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.fx import Node

from prunec.passes.ir import Role
from support.blocks.images import SIDE, convolve, scale_channels
from support.blocks.projecting import project
from support.blocks.steps import norm
from support.builder import TOKENS, VOCABULARY, Block, Builder, aten

CLASSES = 5


@dataclass(frozen=True)
class Stream:
    """One kind of program: how it starts and ends, and which blocks it may have.

    Attributes:
        start: Makes the inputs and the stream.
        join: Puts a block into the stream.
        end: Makes the outputs.
        blocks: By name.
    """

    start: Callable[[Builder], Node]
    join: Callable[[Builder, Node, Block], Node]
    end: Callable[[Builder, Node], None]
    blocks: Mapping[str, Block]


def start_tokens(b: Builder) -> Node:
    """Embedded tokens or projected features: [batch, token, width]."""
    b.width = b.pick(6, 8, 10, 12)
    is_text = b.chance(0.7)
    sizes: tuple[int | str, ...] = (2, TOKENS)
    if b.is_dynamic:
        sizes = ("batch_size", "sequence_length")
    if is_text:
        source = b.add_input("input_ids", Role.TOKENS, sizes, torch.int64)
    else:
        source = b.add_input("features", Role.OTHER, (*sizes, 7), torch.float64)
    if b.is_dynamic:
        b.batch, b.tokens = (b.call(aten.sym_size.int, source, dim) for dim in (0, 1))
    if not is_text:
        return project(b, source, 7, b.width, "features")
    table = b.parameter("embedding", VOCABULARY, b.width)
    b.shared["embedding"] = table
    return b.call(aten.embedding.default, table, source)


def join_tokens(b: Builder, x: Node, block: Block) -> Node:
    """Let the block read the stream and write to it, with norms where models have them."""
    form = b.pick("before", "before", "plain", "after", "sandwich", "replace", "scaled", "parallel")
    if form == "replace":
        return block(b, x)
    read = norm(b, x, b.width) if form in ("before", "sandwich", "parallel") else x
    y = block(b, read)
    if form == "sandwich":
        y = norm(b, y, b.width)
    if form == "scaled":
        return b.call(aten.add.Tensor, x, y, alpha=0.5)
    if form == "parallel":
        y = b.call(aten.add.Tensor, y, block(b, read))
    x = b.call(aten.add.Tensor, *b.pick((x, y), (y, x)))
    return norm(b, x, b.width) if form == "after" else x


def end_tokens(b: Builder, x: Node) -> None:
    """A head over each token, tied or not, over their mean, or none."""
    labels = ("batch_size", "sequence_length") if b.is_dynamic else (2, TOKENS)
    x = norm(b, x, b.width) if b.chance() else x
    form = b.pick("head", "head", "tied", "pooled", "first", "none")
    if form == "none":
        return b.add_output("hidden", x, Role.OTHER, (*labels, b.width))
    if form in ("pooled", "first"):
        reduce = (
            b.call(aten.mean.dim, x, [1]) if form == "pooled" else b.call(aten.select.int, x, 1, 0)
        )
        y = b.call(aten.linear.default, reduce, b.parameter("head", CLASSES, b.width))
        return b.add_output("classes", y, Role.OTHER, (labels[0], CLASSES))
    if form == "tied" and "embedding" in b.shared:
        y = b.call(aten.linear.default, x, b.shared["embedding"])
        return b.add_output("logits", y, Role.LOGITS, (*labels, VOCABULARY))
    y = project(b, x, b.width, CLASSES, "head")
    return b.add_output("logits", y, Role.LOGITS, (*labels, CLASSES))


def start_image(b: Builder) -> Node:
    """A stem: [batch, channel, height, width]."""
    b.width = b.pick(4, 6, 8)
    batch: int | str = "batch_size" if b.is_dynamic else 2
    image = b.add_input("pixels", Role.OTHER, (batch, 3, SIDE, SIDE), torch.float64)
    if b.is_dynamic:
        b.batch = b.call(aten.sym_size.int, image, 0)
    return scale_channels(b, convolve(b, image, 3, b.width, "stem", 3), b.width)


def join_image(b: Builder, x: Node, block: Block) -> Node:
    """Add the block to the stream, or let it take the stream's place."""
    form = b.pick("plain", "plain", "before", "after", "replace")
    y = block(b, scale_channels(b, x, b.width) if form == "before" else x)
    if form != "replace":
        y = b.call(aten.add.Tensor, *b.pick((x, y), (y, x)))
    return b.call(aten.relu.default, y) if form == "after" else y


def end_image(b: Builder, x: Node) -> None:
    """A head over the mean of all positions, over all of them, over each; or none."""
    batch: int | str = "batch_size" if b.is_dynamic else 2
    form = b.pick("mean", "flat", "each", "none")
    if form == "none":
        return b.add_output("image", x, Role.OTHER, (batch, b.width, SIDE, SIDE))
    if form == "each":
        tokens = b.call(aten.transpose.int, b.call(aten.flatten.using_ints, x, 2), 1, 2)
        y = b.call(aten.linear.default, tokens, b.parameter("head", CLASSES, b.width))
        return b.add_output("classes", y, Role.OTHER, (batch, SIDE * SIDE, CLASSES))
    if form == "mean":
        flat, inner = b.call(aten.mean.dim, x, [-2, -1]), b.width
    else:
        flat, inner = b.call(aten.flatten.using_ints, x, 1), b.width * SIDE * SIDE
    y = b.call(aten.linear.default, flat, b.parameter("head", CLASSES, inner))
    return b.add_output("classes", y, Role.OTHER, (batch, CLASSES))
