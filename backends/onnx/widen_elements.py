"""``TopK(x)`` in bfloat16 -> ``Cast(TopK(Cast(x)))`` in float32, and so every operator without it.

Which operators take which element types, onnx itself says. The result is the same: every number of
the narrower type is one of the wider.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir

_NARROW = (ir.DataType.BFLOAT16, ir.DataType.FLOAT16)
_WIDE = "tensor(float)"


def widen_elements(model: ir.Model) -> int:
    """Let operators compute in float32 that take no half type; return how many there were."""
    version = model.opset_imports[""]
    widened = 0
    for node in list(model.graph):
        if node.domain or not onnx.defs.has(node.op_type, version):
            continue
        schema = onnx.defs.get_schema(node.op_type, version)
        for variable in _variables_to_widen(node, schema):
            _widen(model.graph, node, schema, variable)
            widened += 1
    return widened


def _variables_to_widen(node: ir.Node, schema: onnx.defs.OpSchema) -> set[str]:
    """The type variables of the schema that are bound to a half type which they do not allow."""
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    if any(kind.startswith("seq(") for kinds in allowed.values() for kind in kinds):
        return set()  # what a sequence holds would have to change with it
    return {
        variable
        for value, variable in zip(
            node.inputs, _variables(schema.inputs, len(node.inputs)), strict=True
        )
        if value is not None
        and value.dtype in _NARROW
        and variable in allowed
        and f"tensor({value.dtype.name.lower()})" not in allowed[variable]
        and _WIDE in allowed[variable]
    }


def _variables(parameters: Iterable[onnx.defs.OpSchema.FormalParameter], count: int) -> list[str]:
    """The type variable of each of so many values; the last parameter may take several."""
    names = [parameter.type_str for parameter in parameters]
    return (names + names[-1:] * count)[:count]


def _widen(graph: ir.Graph, node: ir.Node, schema: onnx.defs.OpSchema, variable: str) -> None:
    for place, name in enumerate(_variables(schema.inputs, len(node.inputs))):
        value = node.inputs[place]
        if name == variable and value is not None:
            wide = ir.node("Cast", [value], {"to": ir.DataType.FLOAT})
            wide.outputs[0].dtype, wide.outputs[0].shape = ir.DataType.FLOAT, value.shape
            graph.insert_before(node, wide)
            node.replace_input_with(place, wide.outputs[0])
    for value, name in zip(
        node.outputs, _variables(schema.outputs, len(node.outputs)), strict=True
    ):
        if name == variable and value.dtype in _NARROW:
            _narrow(graph, node, value)


def _narrow(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Let the readers of a result that is wide now read it in the type that it had."""
    assert value.dtype is not None
    narrow = ir.node("Cast", [value], {"to": value.dtype})
    result = narrow.outputs[0]
    result.dtype, result.shape = value.dtype, value.shape
    value.dtype = ir.DataType.FLOAT
    uses = [use for use in value.uses() if use.node is not narrow]
    for use in uses:
        use.node.replace_input_with(use.idx, result)
    for place, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[place] = result
            value.name, result.name = f"{value.name}_wide", value.name
    graph.insert_after(node, narrow)
