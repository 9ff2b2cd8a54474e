"""Turn what torch.export gives into a program: graph, weights and named ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.fx import Node
from torch.utils import _pytree as pytree

from prunec.frontend.tracing.errors import ExportError, OperatorError, cannot_trace
from prunec.frontend.tracing.functional import IrregularWriteError, make_functional
from prunec.frontend.tracing.graph import require_no_chance, require_static_sizes, take_graph
from prunec.frontend.tracing.ports import default_ports, output_ports, settle
from prunec.frontend.tracing.quiet import quietly
from prunec.passes.ir import Entry, Port, Program, ProgramError, propagate


def program_from_exported(
    exported: ExportedProgram, inputs: Sequence[Port] | None = None
) -> Program:
    """The program behind an exported one.

    Args:
        exported: Any graph of torch.export, decomposed or not.
        inputs: A port for each tensor that it takes, in order; from the names and sizes of the
            exported program where not given.

    Raises:
        ExportError: it writes to its inputs or buffers, takes or returns numbers that vary, has
            sizes that depend on data, or calls an operator outside ATen.
    """
    try:
        return _to_program(exported, inputs)
    except (IrregularWriteError, OperatorError) as error:
        # Slower than the trace itself, and it spells several operators out; but it knows all
        # about views, and has decompositions of operators that are not of ATen.
        refused = error
    try:
        return _to_program(_decompose(exported), inputs)
    except (IrregularWriteError, ExportError) as error:
        last = error if isinstance(refused, IrregularWriteError) else refused
        final = last if isinstance(last, ExportError) else ExportError(str(last))
        final.tried = (("as traced", refused.args[0]), ("decomposed", error.args[0]))
        raise final from refused


def _decompose(exported: ExportedProgram) -> ExportedProgram:
    """The same program without writes, in operators that torch has no decomposition for.

    Raises:
        ExportError: says what the decomposition met.
    """
    # What the tracer claims of sizes names inputs as the tracer called them, not as they are here.
    exported._guards_code = []
    try:
        with quietly():
            return exported.run_decompositions({})
    except Exception as error:  # whatever a decomposition raises
        raise cannot_trace("the decomposed graph", error) from error


def _to_program(exported: ExportedProgram, inputs: Sequence[Port] | None) -> Program:
    _require_tensors(exported)
    require_static_sizes(exported.graph_module)
    require_no_chance(exported.graph_module)
    try:
        return _convert(exported, inputs)
    except ProgramError as error:
        raise ExportError(f"the traced graph does not hold for other sizes: {error}") from error


def _convert(exported: ExportedProgram, inputs: Sequence[Port] | None) -> Program:
    tensors = {**dict(exported.state_dict), **dict(exported.constants)}
    reads = _reads(exported, tensors)
    fed = fed_nodes(exported)
    ports = settle(fed, default_ports(fed) if inputs is None else inputs)
    graph = take_graph(
        exported.graph_module,
        skipped=_unread(exported),
        names={node.name: _identifier(port.name) for node, port in zip(fed, ports, strict=True)},
    )
    entry = Entry(graph, reads, ports, ())
    weights = {name: tensors[name].detach() for name in dict.fromkeys(reads.values())}
    propagate(entry, weights)
    make_functional(graph)
    return Program(
        entries={"main": replace(entry, outputs=output_ports(entry, _output_names(exported)))},
        weights=weights,
        buffers=_buffers(exported) & weights.keys(),
    )


def _require_tensors(exported: ExportedProgram) -> None:
    """Raise where the program takes, returns or changes anything but tensors given and returned."""
    signature = exported.graph_signature
    written = [
        spec.target for spec in signature.output_specs if spec.kind.name.endswith("_MUTATION")
    ]
    if written:
        raise ExportError(
            f"the module writes to {written} when it runs; a program only reads",
            in_python="Call module.eval() before tracing, or return the new value and take the "
            "old one as an input",
        )
    for spec in signature.input_specs:
        if spec.kind in (InputKind.CUSTOM_OBJ, InputKind.TOKEN):
            raise ExportError(
                f"the module reads {spec.target or spec.arg.name}, which is no tensor"
            )
        if spec.kind is InputKind.USER_INPUT and not isinstance(
            spec.arg, (TensorArgument, ConstantArgument)
        ):
            raise ExportError(
                f"the input {spec.arg.name} is a number that varies",
                in_python="Give it a fixed value, or take it from a tensor's size",
            )
    for place, output in enumerate(signature.output_specs):
        is_none = isinstance(output.arg, ConstantArgument) and output.arg.value is None
        if output.kind is OutputKind.USER_OUTPUT and not (
            is_none or isinstance(output.arg, TensorArgument)
        ):
            raise ExportError(
                f"output {place} of the module is no tensor", in_python="Return tensors only"
            )


def fed_nodes(exported: ExportedProgram) -> list[Node]:
    """The placeholders that the caller feeds with tensors; the values of others are fixed."""
    names = {
        spec.arg.name
        for spec in exported.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument)
    }
    return [n for n in exported.graph.find_nodes(op="placeholder") if n.name in names]


def _unread(exported: ExportedProgram) -> set[str]:
    """Placeholders to leave out: fixed inputs, and weights that nothing reads.

    A weight that nothing reads is the second name of a tied one.
    """
    fed = set(fed_nodes(exported))
    placeholders = exported.graph.find_nodes(op="placeholder")
    return {n.name for n in placeholders if n not in fed and not n.users}


def _reads(exported: ExportedProgram, tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Placeholder to weight name in the graph's order; tied weights under their first name."""
    signature = exported.graph_signature
    named = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    unread = _unread(exported)
    first: dict[int, str] = {}
    return {
        node.name: first.setdefault(id(tensors[named[node.name]]), named[node.name])
        for node in exported.graph.find_nodes(op="placeholder")
        if node.name in named and node.name not in unread
    }


def _buffers(exported: ExportedProgram) -> frozenset[str]:
    signature = exported.graph_signature
    return frozenset(signature.buffers) | frozenset(signature.lifted_tensor_constants)


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _output_names(exported: ExportedProgram) -> list[str]:
    """The names of the tensors in the structure that the module returns."""
    specs = [s for s in exported.graph_signature.output_specs if s.kind is OutputKind.USER_OUTPUT]
    spec = exported.call_spec.out_spec
    leaves = pytree.tree_unflatten([s.arg for s in specs], spec)
    paths, _ = pytree.tree_flatten_with_path(
        leaves, is_leaf=lambda x: isinstance(x, (TensorArgument, ConstantArgument))
    )
    return [_path_name(path) for path, arg in paths if isinstance(arg, TensorArgument)]


def _path_name(path: Sequence[Any]) -> str:
    keys = [getattr(k, "key", getattr(k, "name", getattr(k, "idx", None))) for k in path]
    if all(isinstance(key, int) for key in keys):
        return "_".join(["output", *map(str, keys)]) if keys else "output"
    return ".".join(map(str, keys))
