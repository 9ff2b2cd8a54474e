"""Let ``Attention`` grow the cache and split the heads itself, as ONNX Runtime does fastest.

``Attention(q, Concat(past_k, k), Concat(past_v, v), mask)``
->
``Attention(q, k, v, mask, past_k, past_v)``, whose further results are the grown cache.

Where each of q, k and v is ``Transpose(Reshape(x))``, with or without a ``RotaryEmbedding`` after
it, and the result is transposed back to [batch, token, hidden], ``Attention`` takes the x. The
result is standard ONNX too, but TensorRT reads only the form before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

_SWAP = [0, 2, 1, 3]


@dataclass(frozen=True)
class _Heads:
    """A [batch, head, token, head_dim] value made of a [batch, token, hidden] one."""

    source: ir.Value
    count: int
    rotary: ir.Node | None

    def flat(self, before: ir.Node) -> ir.Value:
        """The value before it was split into heads, rotated where those were."""
        if self.rotary is None:
            return self.source
        inputs = [self.source, *self.rotary.inputs[1:]]
        attributes = {**self.rotary.attributes, "num_heads": ir.AttrInt64("num_heads", self.count)}
        return _insert(before, "RotaryEmbedding", inputs, attributes)[0]


def fold_cache(model: ir.Model) -> int:
    """Move every concatenation of the cache into its ``Attention``; return how many moved."""
    folded = sum(_fold(model.graph, n) for n in list(model.graph) if n.op_type == "Attention")
    RemoveUnusedNodesPass()(model)
    return folded


def _fold(graph: ir.Graph, node: ir.Node) -> bool:
    if len(node.inputs) != 4 or len(node.outputs) != 1:
        return False
    query, mask = node.inputs[0], node.inputs[3]
    key, value = _grown(node.inputs[1]), _grown(node.inputs[2])
    if query is None or key is None or value is None:
        return False
    (past_key, keys), (past_value, values) = key, value
    split = [_split_heads(v) for v in (query, keys, values)]
    merged = _merged_heads(node.outputs[0])
    if merged is None or None in split:
        result, sources, counts = node.outputs[0], [query, keys, values], []
    else:
        result, sources = merged, [h.flat(node) for h in split if h is not None]
        counts = [
            ir.AttrInt64(f"{name}_num_heads", h.count)
            for name, h in zip(("q", "kv"), split, strict=False)
            if h is not None
        ]
    attributes = {**node.attributes, **{a.name: a for a in counts}}
    outputs = _insert(
        node, "Attention", [*sources, mask, past_key, past_value], attributes, num_outputs=3
    )
    replaced = (result, node.inputs[1], node.inputs[2])
    for before, after in zip(replaced, outputs, strict=True):
        _take_over(graph, before, after)  # type: ignore[arg-type]
    return True


def _split_heads(value: ir.Value | None) -> _Heads | None:
    """Match ``[RotaryEmbedding](Transpose(Reshape(x)))``."""
    rotary = _producer(value, "RotaryEmbedding")
    transpose = _producer(rotary.inputs[0] if rotary else value, "Transpose")
    if transpose is None or list(transpose.attributes["perm"].as_ints()) != _SWAP:
        return None
    reshape = _producer(transpose.inputs[0], "Reshape")
    shape = transpose.outputs[0].shape
    if reshape is None or shape is None or not isinstance(shape[1], int):
        return None
    source = reshape.inputs[0]
    if source is None or source.shape is None or len(source.shape) != 3:
        return None
    return _Heads(source, shape[1], rotary)


def _grown(value: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    """Match ``Concat(past, new)`` over the tokens."""
    concat = _producer(value, "Concat")
    if (
        concat is None
        or len(concat.inputs) != 2
        or concat.attributes["axis"].as_int() not in (2, -2)
    ):
        return None
    past, new = concat.inputs
    return None if past is None or new is None else (past, new)


def _merged_heads(value: ir.Value) -> ir.Value | None:
    """Match ``Reshape(Transpose(value))`` back to [batch, token, hidden]."""
    for op_type in ("Transpose", "Reshape"):
        readers = [use.node for use in value.uses()]
        if len(readers) != 1 or readers[0].op_type != op_type:
            return None
        value = readers[0].outputs[0]
    return value if value.shape is not None and len(value.shape) == 3 else None


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def _insert(
    before: ir.Node, op_type: str, inputs: Any, attributes: Any, num_outputs: int = 1
) -> tuple[ir.Value, ...]:
    node = ir.Node("", op_type, inputs, attributes.values(), num_outputs=num_outputs)
    before.graph.insert_before(before, node)  # type: ignore[union-attr]
    node.name = f"node_{node.outputs[0].name}"
    return tuple(node.outputs)


def _take_over(graph: ir.Graph, before: ir.Value, after: ir.Value) -> None:
    """Give a value's name, shape and readers, the graph's outputs among them, to another."""
    after.shape, after.type = before.shape, before.type
    name, before.name = before.name, f"{before.name}_before"
    after.name = name
    ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
