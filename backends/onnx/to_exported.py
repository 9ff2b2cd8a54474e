"""A draft as a `torch.export.ExportedProgram`, the form that exporters take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch.export import ExportedProgram
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.export.graph_signature import (
    ArgumentSpec,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.utils import _pytree as pytree

from prunec.backends.onnx.draft import Draft


@final
class LoweredProgram(ExportedProgram):
    """An exported program whose operators all have a translation of their own.

    Exporters decompose whatever they are given by tracing it again, which for a graph that needs
    none of it would be most of their time.
    """

    def run_decompositions(
        self,
        decomp_table: dict[torch._ops.OperatorBase, Callable[..., Any]] | None = None,
        decompose_custom_triton_ops: bool = False,
    ) -> ExportedProgram:
        """Return the program as it is."""
        return self


def to_exported(draft: Draft, form: type[ExportedProgram] = ExportedProgram) -> ExportedProgram:
    """Wrap the draft's graph, with its weights as parameters."""
    draft.propagate()
    entry = draft.entry()
    inputs: list[ArgumentSpec] = [TensorArgument(n.name) for n in entry.input_nodes()]
    outputs: list[ArgumentSpec] = [TensorArgument(n.name) for n in entry.output_nodes()]
    _, in_spec = pytree.tree_flatten((tuple(inputs), {}))
    _, out_spec = pytree.tree_flatten(tuple(outputs))
    # Weights go first: an exported program lists its lifted tensors before its inputs.
    specs = [
        InputSpec(InputKind.PARAMETER, TensorArgument(node.name), name)
        for node, name in entry.weight_nodes()
    ]
    specs += [InputSpec(InputKind.USER_INPUT, argument, None) for argument in inputs]
    signature = ExportGraphSignature(
        specs, [OutputSpec(OutputKind.USER_OUTPUT, argument, None) for argument in outputs]
    )
    return form(
        root=torch.nn.Module(),
        graph=draft.graph,
        graph_signature=signature,
        state_dict={
            name: torch.nn.Parameter(weight, requires_grad=False)
            for name, weight in draft.weights.items()
        },
        range_constraints={},
        module_call_graph=[
            ModuleCallEntry("", ModuleCallSignature(inputs, outputs, in_spec, out_spec))
        ],
    )
