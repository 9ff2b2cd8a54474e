"""``Attention(q, k, v, mask)`` -> ``softmax(q k^T * scale + mask) v`` where engines lack a kernel.

TensorRT builds ``Attention`` from its dedicated kernels alone: for heads of 16 to 256 values, a
multiple of 8, as wide in v as in q and k, in a half type. Anything else it refuses, some of it only
in the middle of a build. Between the products float32 is computed in, as such kernels do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class _Sizes:
    """The static sizes of an attention and its element type."""

    heads: int
    key_heads: int
    width: int
    value_width: int
    dtype: ir.DataType

    @classmethod
    def of(cls, node: ir.Node) -> _Sizes | None:
        """None for a form that the lowering does not write: with a cache, or of 3 dimensions."""
        values = node.inputs[:3]
        shapes = [v.shape for v in values if v is not None and v.shape is not None]
        if len(node.inputs) > 4 or len(shapes) != 3 or any(len(s) != 4 for s in shapes):
            return None
        (_, heads, _, width), (_, key_heads, _, _), (_, _, _, value_width) = shapes
        sizes = (heads, key_heads, width, value_width)
        dtype = values[0].dtype  # type: ignore[union-attr]  # it has a shape
        if dtype is None or not all(isinstance(size, int) for size in sizes):
            return None
        return cls(*sizes, dtype)  # type: ignore[arg-type]  # just seen

    def have_kernel(self) -> bool:
        """Whether engines take it as it is."""
        is_even = self.width == self.value_width and self.width % 8 == 0
        return self.dtype in _HALF and is_even and 16 <= self.width <= 256


def spell_out_attention(model: ir.Model) -> int:
    """Replace every attention that engines have no kernel for; return how many."""
    spelled_out = 0
    for node in list(model.graph):
        sizes = _Sizes.of(node) if node.op_type == "Attention" else None
        if sizes is None or sizes.have_kernel() or node.attributes.get_float("softcap"):
            continue
        _spell_out(model.graph, node, sizes)
        spelled_out += 1
    return spelled_out


def _spell_out(graph: ir.Graph, node: ir.Node, sizes: _Sizes) -> None:
    tape = Tape()
    query, key, value = node.inputs[:3]
    scale = node.attributes.get_float("scale") or sizes.width**-0.5
    scaled = tape.op("Mul", [query, _constant(tape, np.array(scale), sizes.dtype)])
    # The query heads that share a key head are further rows of it.
    grouped = _reshape(tape, scaled, [0, sizes.key_heads, -1, sizes.width])
    product = tape.op("MatMul", [grouped, tape.op("Transpose", [key], {"perm": [0, 1, 3, 2]})])
    scores = _cast(tape, _reshape(tape, product, [0, sizes.heads, -1, 0]), sizes, wide=True)
    for shown in _masks(tape, node):
        scores = _mask(tape, scores, shown)
    shares = _cast(tape, tape.op("Softmax", [scores], {"axis": -1}), sizes, wide=False)
    grouped = _reshape(tape, shares, [0, sizes.key_heads, -1, 0])
    taken = tape.op("MatMul", [grouped, value])
    result = _reshape(tape, taken, [0, sizes.heads, -1, sizes.value_width])
    before = node.outputs[0]
    result.name, result.shape, result.type = before.name, before.shape, before.type
    graph.insert_before(node, tape.nodes)
    ir.convenience.replace_all_uses_with(before, result, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _masks(tape: Tape, node: ir.Node) -> list[ir.Value]:
    """What hides scores: the mask that is given, and that of the future."""
    found = [value for value in node.inputs[3:4] if value is not None]
    if node.attributes.get_int("is_causal", 0):
        lengths = [tape.op("Shape", [v], {"start": 2, "end": 3}) for v in node.inputs[:2]]
        sizes = tape.op("Concat", lengths, {"axis": 0})
        ones = tape.op("ConstantOfShape", [sizes], {"value": ir.tensor(np.array([1], np.int64))})
        past = tape.op("Trilu", [ones], {"upper": 0})
        found.append(tape.op("Cast", [past], {"to": ir.DataType.BOOL}))
        found[-1].dtype = ir.DataType.BOOL
    return found


def _mask(tape: Tape, scores: ir.Value, mask: ir.Value) -> ir.Value:
    if mask.dtype is not ir.DataType.BOOL:
        return tape.op("Add", [scores, tape.op("Cast", [mask], {"to": ir.DataType.FLOAT})])
    # A number, not infinity: a row of padding that sees nothing must not become no number.
    least = _constant(tape, np.array(np.finfo(np.float32).min), ir.DataType.FLOAT)
    return tape.op("Where", [mask, scores, least])


def _cast(tape: Tape, value: ir.Value, sizes: _Sizes, *, wide: bool) -> ir.Value:
    """To float32, or back to the type of the attention."""
    if sizes.dtype is ir.DataType.FLOAT:
        return value
    return tape.op("Cast", [value], {"to": ir.DataType.FLOAT if wide else sizes.dtype})


def _reshape(tape: Tape, value: ir.Value, sizes: list[int]) -> ir.Value:
    return tape.op("Reshape", [value, _constant(tape, np.array(sizes), ir.DataType.INT64)])


def _constant(tape: Tape, value: Any, dtype: ir.DataType) -> ir.Value:
    tensor = ir.tensor(value.astype(dtype.numpy()), dtype=dtype)
    return tape.op("Constant", [], {"value": tensor})
