"""Let ``Attention`` write new keys and values into the cache, by ONNX Runtime's own operator.

``Attention(q, k, v, mask, past_k, past_v)``, its further results the grown cache
->
``com.microsoft.GroupQueryAttention(q, k, v, past_k, past_v, last, total, attention_bias)``, whose
further results are the cache in the memory of ``past_k`` and ``past_v``: they have room for more
tokens than there are. The bias is 0 where the mask is true, else the lowest number, so that any
mask will do. How many tokens there are is read from the attention mask instead of the cache.

The kernel of the CPU takes several tokens after a cache for one sequence only, and head
dimensions that are multiples of 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

ROOM = "room"
"""The name of the cache's dimension whose first tokens are there and whose rest is free."""

_TOKENS_DIM = 2
_DTYPES = (ir.DataType.FLOAT, ir.DataType.FLOAT16)
_WIDTH_STEP = 8
_SWAP = [0, 2, 1, 3]


def grow_in_place(model: ir.Model) -> bool:
    """Change every ``Attention``, or nothing where the cache must keep its form for any reader.

    The model is one with the customary names of inputs, its cache folded into its ``Attention``
    (`prunec.backends.ort.fold_cache`).
    """
    graph = model.graph
    nodes = [node for node in graph if node.op_type == "Attention" and node.domain == ""]
    found = [_match(node) for node in nodes]
    matches = [match for match in found if match is not None]
    past = [v for v in graph.inputs if str(v.name).startswith("past_key_values.")]
    sizes = _cache_sizes(past, matches)
    if sizes is None or len(matches) < len(nodes):
        return False
    counts = _count_tokens(graph)
    for node in sizes:
        ir.convenience.replace_all_uses_with(node.outputs[0], counts.past)
    biases: dict[ir.Value, ir.Value] = {}
    for match in matches:
        _change(graph, match, counts, biases)
    grown = [v for v in graph.outputs if _is_grouped(v.producer())]
    for value in (*past, *grown):
        _rename_tokens(value)
    model.opset_imports["com.microsoft"] = 1
    RemoveUnusedNodesPass()(model)
    return True


@dataclass(frozen=True)
class _Match:
    """An ``Attention`` that the kernel can take over.

    Attributes:
        node: Itself.
        new: Its query, keys and values of new tokens.
        mask: What it adds, or keeps where true; [batch or 1, head or 1, new, total].
        past: The cache's keys and values, inputs of the graph.
        dtype: Theirs.
        heads: How many heads queries have.
        kv_heads: How many keys and values have.
        is_split: Whether it takes heads, [batch, head, token, head_dim], in place of
            [batch, token, hidden].
    """

    node: ir.Node
    new: Sequence[ir.Value]
    mask: ir.Value
    past: Sequence[ir.Value]
    dtype: ir.DataType
    heads: int
    kv_heads: int
    is_split: bool


@dataclass(frozen=True)
class _Counts:
    """Numbers of tokens: earlier ones [1], int64; the last's index [batch] and all [1], int32."""

    past: ir.Value
    last: ir.Value
    total: ir.Value


def _match(node: ir.Node) -> _Match | None:
    given = [value for value in node.inputs if value is not None]
    grown = node.outputs[1:]
    is_causal = node.attributes.get_int("is_causal", 0)
    if len(given) != 6 or len(grown) != 2 or is_causal:
        return None
    query, mask, past = given[0], given[3], given[4:]
    if any(v.uses() or not v.is_graph_output() for v in grown):
        return None
    dtype = past[0].dtype
    if dtype not in _DTYPES or mask.dtype not in (dtype, ir.DataType.BOOL):
        return None
    sizes = [list(v.shape) for v in (mask, *past) if v.shape is not None and len(v.shape) == 4]
    if len(sizes) != 3:
        return None
    is_split = "q_num_heads" not in node.attributes
    if is_split:
        heads = query.shape[1] if query.shape is not None else None
    else:
        heads = node.attributes["q_num_heads"].as_int()
    _, kv_heads, _, width = sizes[1]
    if not (isinstance(heads, int) and isinstance(kv_heads, int) and isinstance(width, int)):
        return None
    if heads % kv_heads or width % _WIDTH_STEP or width != sizes[2][3]:
        return None
    return _Match(node, given[:3], mask, past, dtype, heads, kv_heads, is_split)


def _cache_sizes(past: Sequence[ir.Value], matches: Sequence[_Match]) -> list[ir.Node] | None:
    """What reads the number of tokens off the cache; None where anything else reads it."""
    taken = {value for match in matches for value in match.past}
    found = []
    for value in past:
        readers = [use.node for use in value.uses()]
        shapes = [node for node in readers if node.op_type == "Shape"]
        if value not in taken or len(readers) != len(shapes) + 1:
            return None
        for node in shapes:
            start = node.attributes.get_int("start", 0)
            end = node.attributes.get_int("end", 4)
            if (start, end) == (_TOKENS_DIM, _TOKENS_DIM + 1):
                found.append(node)
            elif start <= _TOKENS_DIM < end:
                return None
    return found if past else None


def _count_tokens(graph: ir.Graph) -> _Counts:
    inputs = {value.name: value for value in graph.inputs}
    made: list[ir.Node] = []

    def add(op_type: str, *sources: ir.Value, **attributes: int) -> ir.Value:
        made.append(ir.node(op_type, sources, attributes))
        return made[-1].outputs[0]

    mask, tokens = inputs["attention_mask"], inputs["input_ids"]
    total = add("Shape", mask, start=1, end=2)
    past = add("Sub", total, add("Shape", tokens, start=1, end=2))
    index = add("Cast", add("Sub", total, add("Constant", value_int=1)), to=ir.DataType.INT32)
    last = add("Expand", index, add("Shape", tokens, start=0, end=1))
    whole = add("Cast", total, to=ir.DataType.INT32)
    graph.insert_before(graph[0], made)
    return _Counts(past, last, whole)


def _change(
    graph: ir.Graph, match: _Match, counts: _Counts, biases: dict[ir.Value, ir.Value]
) -> None:
    node = match.node
    if match.mask not in biases:
        biases[match.mask] = _bias(graph, match)
    new = [_merge_heads(graph, node, v) for v in match.new] if match.is_split else match.new
    unused = (None,) * 3  # rotation
    grouped = ir.node(
        "GroupQueryAttention",
        [*new, *match.past, counts.last, counts.total, *unused, biases[match.mask]],
        {
            **{name: a for name, a in node.attributes.items() if name in ("scale", "softcap")},
            "num_heads": match.heads,
            "kv_num_heads": match.kv_heads,
            "causal": 0,
        },
        domain="com.microsoft",
        num_outputs=3,
        name=node.name,
    )
    graph.insert_before(node, grouped)
    result = grouped.outputs[0]
    if match.is_split:
        result = _split_heads(graph, node, result, match.heads)
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], [], node.outputs, [result, *grouped.outputs[1:]]
    )


def _bias(graph: ir.Graph, match: _Match) -> ir.Value:
    if match.mask.dtype != ir.DataType.BOOL:
        return match.mask
    kind = match.dtype.numpy()
    zero, lowest = (_constant(np.array(number, kind)) for number in (0, np.finfo(kind).min))
    where = ir.node("Where", [match.mask, zero.outputs[0], lowest.outputs[0]])
    graph.insert_before(match.node, [zero, lowest, where])
    return where.outputs[0]


def _merge_heads(graph: ir.Graph, before: ir.Node, value: ir.Value) -> ir.Value:
    """[batch, head, token, head_dim] -> [batch, token, hidden]."""
    sizes = _constant(np.array([0, 0, -1]))
    swap = ir.node("Transpose", [value], {"perm": _SWAP})
    reshape = ir.node("Reshape", [swap.outputs[0], sizes.outputs[0]])
    graph.insert_before(before, [sizes, swap, reshape])
    return reshape.outputs[0]


def _split_heads(graph: ir.Graph, before: ir.Node, value: ir.Value, heads: int) -> ir.Value:
    """[batch, token, hidden] -> [batch, head, token, head_dim]."""
    sizes = _constant(np.array([0, 0, heads, -1]))
    reshape = ir.node("Reshape", [value, sizes.outputs[0]])
    swap = ir.node("Transpose", [reshape.outputs[0]], {"perm": _SWAP})
    graph.insert_before(before, [sizes, reshape, swap])
    return swap.outputs[0]


def _is_grouped(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "GroupQueryAttention"


def _constant(array: np.ndarray) -> ir.Node:
    return ir.node("Constant", [], {"value": ir.tensor(array)})


def _rename_tokens(value: ir.Value) -> None:
    assert value.shape is not None
    value.shape = ir.Shape(
        [ROOM if dim == _TOKENS_DIM else size for dim, size in enumerate(value.shape)]
    )
