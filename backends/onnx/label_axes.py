"""Symbols of the trace, such as ``s28 + s69``, -> the axis labels of the ports."""

from __future__ import annotations

import onnx_ir as ir

from prunec.passes.ir import Port


def label_axes(model: ir.Model, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
    """Give inputs and outputs the shapes of their ports, and inner values the same labels.

    Sizes of inner values that no port has are left open.
    """
    labels: dict[str, str] = {}
    for value, port in zip(
        (*model.graph.inputs, *model.graph.outputs), (*inputs, *outputs), strict=True
    ):
        for size, label in zip(value.shape or (), port.shape, strict=True):
            if isinstance(label, str):
                labels[str(size)] = label
        value.shape = ir.Shape(port.shape)
    ends = {*model.graph.inputs, *model.graph.outputs}
    for node in model.graph:
        for value in node.outputs:
            if value.shape is not None and value not in ends:
                value.shape = ir.Shape(
                    [s if isinstance(s, int) else labels.get(str(s)) for s in value.shape]
                )
