"""The operators that sum products of numbers, and the sizes of what each of them multiplies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.site import argument
from prunec.passes.analysis.index_notation import pairs

aten = torch.ops.aten

Dim = tuple[Node, int]
"""A dimension of a node's value."""


@dataclass(frozen=True)
class Product:
    """Sums of products of two operands' numbers: matrix products, or a convolution.

    There are as many multiplications as the sizes of all these dimensions give when multiplied.

    Attributes:
        left: What is multiplied; several nodes where it is computed from them on the way.
        right: What it is multiplied with.
        batch: The dimensions over which the product is done again and again: rows of a batch,
            heads, tokens of a linear layer, the places where a filter is laid.
        matrix: The dimensions of one product: those that it sums over, and those that one of the
            operands brings.
    """

    left: tuple[Node, ...]
    right: Node
    batch: tuple[Dim, ...]
    matrix: tuple[Dim, ...]

    @property
    def operands(self) -> tuple[Node, ...]:
        """Everything that is multiplied."""
        return (*self.left, self.right)


def products(node: Node) -> tuple[Product, ...]:
    """The products that an operator computes; none where it is in no table."""
    spelled = _TABLE.get(getattr(node.target, "overloadpacket", None))
    return () if spelled is None else tuple(spelled(node))


def is_product(node: Node) -> bool:
    """Whether an operator sums products."""
    return getattr(node.target, "overloadpacket", None) in _TABLE


def _dims(node: Node) -> tuple[Dim, ...]:
    return tuple((node, dim) for dim in range(node.meta["val"].dim()))


def _linear(node: Node) -> Iterator[Product]:
    """X [..., in] · weight [out, in]."""
    x, weight = node.args[:2]
    assert isinstance(x, Node)
    assert isinstance(weight, Node)
    yield Product((x,), weight, _dims(x)[:-1], _dims(weight))


def _matrix_product(node: Node) -> Iterator[Product]:
    """A [..., n, k] · b [..., k, m]; either may be a vector [k]."""
    a, b = (node.args[place] for place in OPERANDS[node.target.overloadpacket])  # type: ignore[union-attr]
    assert isinstance(a, Node)
    assert isinstance(b, Node)
    result, own = _dims(node), sum(len(_dims(operand)) > 1 for operand in (a, b))
    batch = result[: len(result) - own]
    yield Product((a,), b, batch, (*result[len(batch) :], _dims(a)[-1]))


def _sum_of_matrix_products(node: Node) -> Iterator[Product]:
    """Bias + the sum of a [batch, n, k] · b [batch, k, m] over the batch."""
    a, b = argument(node, "batch1"), argument(node, "batch2")
    yield Product((a,), b, _dims(a)[:1], (*_dims(a)[1:], _dims(b)[-1]))


def _convolution(node: Node) -> Iterator[Product]:
    """Weight [out, in / groups, *kernel] at every place of the result [..., out, *space]."""
    yield _laid(node, node)


def _transposed_convolution(node: Node) -> Iterator[Product]:
    """Weight [in, out / groups, *kernel] at every place of the input [..., in, *space]."""
    yield _laid(node, argument(node, "input"))


def _any_convolution(node: Node) -> Iterator[Product]:
    yield _laid(node, argument(node, "input") if argument(node, "transposed") else node)


def _laid(node: Node, places: Node) -> Product:
    """A convolution whose filters are laid once at every place of this image."""
    x, weight = argument(node, "input"), _dims(argument(node, "weight"))
    channels = len(_dims(places)) - len(weight) + 1
    batch = tuple(found for found in _dims(places) if found[1] != channels)
    return Product((x,), argument(node, "weight"), batch, weight)


def _attention(node: Node) -> Iterator[Product]:
    """Q [..., new, d] · k [..., all, d], and the scores [..., new, all] · v [..., all, dv]."""
    q, k, v = (argument(node, name) for name in ("query", "key", "value"))
    batch, scores = _dims(q)[:-2], (_dims(q)[-2], _dims(k)[-2])
    yield Product((q,), k, batch, (*scores, _dims(q)[-1]))
    yield Product((q, k), v, batch, (*scores, _dims(v)[-1]))


def _index_notation(node: Node) -> Iterator[Product]:
    """Operands are multiplied two by two, as the notation or its path says."""
    tensors = argument(node, "tensors")
    ranks = [len(_dims(tensor)) for tensor in tensors]
    for pair in pairs(argument(node, "equation"), ranks, argument(node, "path")):
        batch, matrix = (
            tuple(_widest([(tensors[place], dim) for place, dim in found]) for found in letters)
            for letters in (pair.batch, pair.matrix)
        )
        *left, right = (tensors[place] for place in pair.operands)
        yield Product(tuple(left), right, batch, matrix)


def _widest(alike: list[Dim]) -> Dim:
    """Of dimensions that are one, the first that is not of size 1 and repeated."""
    return next((d for d in alike if d[0].meta["val"].shape[d[1]] != 1), alike[0])


def _recurrence(node: Node) -> Iterator[Product]:
    """Every matrix of a recurrent layer meets every step of every row."""
    x, *_ = node.args
    assert isinstance(x, Node)
    weights = argument(node, "params")
    yield from (
        Product((x,), weight, _dims(x)[:-1], _dims(weight))
        for weight in weights
        if len(_dims(weight)) == 2
    )


OPERANDS: Mapping[Any, tuple[int, int]] = {
    aten.linear: (0, 1),
    aten.mm: (0, 1),
    aten.bmm: (0, 1),
    aten.matmul: (0, 1),
    aten.mv: (0, 1),
    aten.dot: (0, 1),
    aten.addmm: (1, 2),
    aten.baddbmm: (1, 2),
    aten.addmv: (1, 2),
}
"""Where products of two matrices, or batches of them, take these."""

_Spelled = Callable[[Node], Iterator[Product]]
_TABLE: Mapping[Any, _Spelled] = {
    **dict.fromkeys(OPERANDS, _matrix_product),
    aten.linear: _linear,
    aten.addbmm: _sum_of_matrix_products,
    aten.einsum: _index_notation,
    aten.convolution: _any_convolution,
    aten._convolution: _any_convolution,
    **{getattr(aten, f"conv{rank}d"): _convolution for rank in (1, 2, 3)},
    **{getattr(aten, f"conv_transpose{rank}d"): _transposed_convolution for rank in (1, 2, 3)},
    aten.scaled_dot_product_attention: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_attention_math: _attention,
    **dict.fromkeys((aten.lstm, aten.gru, aten.rnn_tanh, aten.rnn_relu), _recurrence),
}
"""Every operator that sums products, by its packet."""
