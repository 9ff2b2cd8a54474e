"""Keep the numbers in a graph within the range of the type that computes with them.

Masks add or fill in the least number of a type, or one far below any score (-1e9). In a narrower
type such a number is an error, or infinite, and a row that is masked everywhere is then no number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Graph, Node

from prunec.passes.ir.program import Entry
from prunec.passes.ir.shapes import takes_only_dtype

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

aten = torch.ops.aten

_HUGE = torch.finfo(torch.bfloat16).max
"""Where models spell masks out, what they add to hidden scores: the least of their precision."""
_NUMBERS = ("number", "float", "Optional[number]", "Optional[float]", "Tensor")
"""Types of arguments that may be given as a number; sizes and places are of others."""
_COPIES = (
    aten.lift_fresh_copy.default, aten.lift_fresh.default, aten.detach.default,
    aten.detach_.default, aten.clone.default, aten.alias.default,
    aten.slice.Tensor, aten.select.int, aten.index.Tensor, aten.expand.default,
    aten.view.default, aten.reshape.default, aten.unsqueeze.default, aten.squeeze.dim,
    aten.permute.default, aten.transpose.int, aten.t.default,
)  # fmt: skip
_CASTS = (aten.to.other, aten.to.dtype, aten._to_copy.default, aten.type_as.default)
_PLACES = (
    aten.full, aten.full_like, aten.new_full, aten.scalar_tensor, aten.where, aten.masked_fill,
    aten.index_fill, aten.fill, aten.pad, aten.constant_pad_nd,
)  # fmt: skip
"""Operators whose numbers are in their result as they are."""


def clamp_numbers(graph: Graph, dtype: torch.dtype) -> Mapping[Node, Arguments]:
    """Bring every number among the arguments into the range of a type.

    Args:
        graph: Edited in place.
        dtype: A floating-point type.

    Returns:
        What the nodes had that were changed.
    """
    before = {}
    for node in graph.nodes:
        if isinstance(node.target, OpOverload):
            had: Arguments = node.args, dict(node.kwargs)
            _clamp(node, torch.finfo(dtype).max, above=torch.finfo(dtype).max)
            if (node.args, node.kwargs) != had:
                before[node] = had
    return before


def restore_numbers(before: Mapping[Node, Arguments], dtype: torch.dtype) -> bool:
    """Give their numbers back to nodes that compute in a wider type; whether there are any.

    The least number of a model's precision stays where it was brought: it hides scores, in
    whatever type it is made.

    Args:
        before: What `clamp_numbers` returned; the graph has shapes and dtypes since.
        dtype: The type whose range they were brought into.
    """
    wide = {node: had for node, had in before.items() if not _computes_in(node, dtype)}
    for node, had in wide.items():
        node.args, node.kwargs = had
        _clamp(node, torch.finfo(dtype).max, above=_HUGE)
    return bool(wide)


def clamp_values(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The tensor with its finite values in the range of a type; its own type stays."""
    limit = torch.finfo(dtype).max
    if torch.finfo(tensor.dtype).max <= limit:
        return tensor
    return torch.where(tensor.isinf(), tensor, tensor.clamp(-limit, limit))


def constants_computed_in(
    entry: Entry, buffers: Iterable[str], dtype: torch.dtype
) -> Iterator[str]:
    """Names of the buffers of a wider type that go into a value of this one.

    Args:
        entry: Its graph has shapes and dtypes.
        buffers: Names of the weights that are no parameters.
        dtype: A floating-point type.
    """
    names = set(buffers)
    for node, name in entry.weight_nodes():
        is_wider = name in names and node.meta["val"].is_floating_point() and _dtype(node) != dtype
        if is_wider and any(_dtype(reader) == dtype for reader in _readers(node)):
            yield name


def _readers(node: Node) -> list[Node]:
    """What reads the values of a node, of a copy or of a part of it."""
    found: list[Node] = []
    for user in node.users:
        if user.target in _COPIES:
            found += _readers(user)
        elif not takes_only_dtype(user, node):
            found.append(user)
    return found


def _clamp(node: Node, limit: float, *, above: float) -> None:
    def clamp(value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and above <= abs(value) < math.inf and abs(value) > limit:
            return math.copysign(limit, value)
        return value

    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    numbers = {a.name for a in arguments if str(a.type) in _NUMBERS}
    named = zip(arguments, node.args, strict=False)
    node.args = tuple([clamp(v) if a.name in numbers else v for a, v in named])
    node.kwargs = {k: clamp(v) if k in numbers else v for k, v in node.kwargs.items()}


def _computes_in(node: Node, dtype: torch.dtype) -> bool:
    """Whether the node's numbers meet the type: in its result, a comparison, or a cast of them."""
    result = _dtype(node)
    if result == torch.bool:
        return any(_dtype(operand) == dtype for operand in node.all_input_nodes)
    return result == dtype or (
        node.target.overloadpacket in _PLACES  # type: ignore[union-attr]
        and any(user.target in _CASTS and _dtype(user) == dtype for user in node.users)
    )


def _dtype(node: Node) -> torch.dtype | None:
    return getattr(node.meta.get("val"), "dtype", None)
