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

from prunec.frontend.tracing.errors import ExportError, at
from prunec.frontend.tracing.functional import IrregularWriteError, make_functional
from prunec.frontend.tracing.graph import require_static_data, take_graph
from prunec.passes.ir import Entry, Port, Program, ProgramError, Role, propagate

_ROLES = {
    "input_ids": Role.TOKENS,
    "decoder_input_ids": Role.TOKENS,
    "attention_mask": Role.MASK,
    "position_ids": Role.POSITIONS,
    "logits": Role.LOGITS,
}
"""Names that mean one thing wherever they occur."""


def role_of(name: str) -> Role:
    """What an input or output of this name means."""
    is_cache = name.startswith(("past_key_values.", "present."))
    return Role.CACHE if is_cache else _ROLES.get(name, Role.OTHER)


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
    _require_function(exported)
    require_static_data(exported.graph)
    try:
        return _to_program(exported, inputs)
    except IrregularWriteError:
        # Slower than the trace itself, and it spells several operators out; but it knows all
        # about views.
        return _to_program(exported.run_decompositions({}), inputs)
    except ProgramError as error:
        raise ExportError(f"the traced graph does not hold for other sizes: {error}") from error


def _to_program(exported: ExportedProgram, inputs: Sequence[Port] | None) -> Program:
    tensors = {**dict(exported.state_dict), **dict(exported.constants)}
    reads = _reads(exported, tensors)
    fed = [n for n in exported.graph.find_nodes(op="placeholder") if n.name in _fed(exported)]
    ports = _settled(fed, _default_ports(fed) if inputs is None else inputs)
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
        entries={"main": replace(entry, outputs=_output_ports(entry, _output_names(exported)))},
        weights=weights,
        buffers=_buffers(exported) & weights.keys(),
    )


def _require_function(exported: ExportedProgram) -> None:
    """Raise where the program is no function from tensors to tensors."""
    signature = exported.graph_signature
    written = {
        **signature.buffers_to_mutate,
        **signature.parameters_to_mutate,
        **signature.user_inputs_to_mutate,
    }
    if written:
        raise ExportError(
            f"the module writes to {sorted(written.values())} when it runs; a program only reads. "
            "Call module.eval() before tracing, or return the new value and take the old one as "
            "an input"
        )
    for spec in signature.input_specs:
        if spec.kind in (InputKind.CUSTOM_OBJ, InputKind.TOKEN):
            raise ExportError(f"the module reads {spec.target or spec.arg.name}, which is no tensor")
        if spec.kind is InputKind.USER_INPUT and not isinstance(
            spec.arg, (TensorArgument, ConstantArgument)
        ):
            raise ExportError(
                f"the input {spec.arg.name} is a number that varies. Give it a fixed value, or "
                "take it from a tensor's size"
            )
    for place, output in enumerate(signature.output_specs):
        is_none = isinstance(output.arg, ConstantArgument) and output.arg.value is None
        if output.kind is OutputKind.USER_OUTPUT and not (
            is_none or isinstance(output.arg, TensorArgument)
        ):
            raise ExportError(f"output {place} of the module is no tensor: return tensors only")


def _fed(exported: ExportedProgram) -> set[str]:
    """The placeholders that the caller feeds with tensors; the values of others are fixed."""
    return {
        spec.arg.name
        for spec in exported.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument)
    }


def _unread(exported: ExportedProgram) -> set[str]:
    """Placeholders to leave out: fixed inputs, and weights that nothing reads.

    A weight that nothing reads is the second name of a tied one.
    """
    fed = _fed(exported)
    placeholders = exported.graph.find_nodes(op="placeholder")
    return {n.name for n in placeholders if n.name not in fed and not n.users}


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


def _default_ports(nodes: Sequence[Node]) -> list[Port]:
    """Ports named after the placeholders; every size that varies by itself has its own label."""
    ports = []
    labels: dict[str, str] = {}
    for node in nodes:
        value, shape = node.meta["val"], []
        for dim, size in enumerate(value.shape):
            is_batch = dim == 0 and "batch_size" not in labels.values()
            label = "batch_size" if is_batch else f"{node.name}_size_{dim}"
            fixed = isinstance(size, int)
            shape.append(size if fixed else labels.setdefault(str(size), label))
        ports.append(Port(node.name, role_of(node.name), tuple(shape), value.dtype))
    return ports


def _settled(nodes: Sequence[Node], ports: Sequence[Port]) -> tuple[Port, ...]:
    """The ports with one label for sizes that the trace found equal, and none for fixed ones."""
    labels: dict[str, str] = {}
    settled = []
    for node, port in zip(nodes, ports, strict=True):
        shape: list[int | str] = []
        for size, label in zip(node.meta["val"].shape, port.shape, strict=True):
            if isinstance(size, int) or isinstance(label, int):
                shape.append(size if isinstance(size, int) else label)
                continue
            shape.append(labels.setdefault(str(size), label))
        settled.append(replace(port, shape=tuple(shape)))
    return tuple(settled)


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


def _output_ports(entry: Entry, names: Sequence[str]) -> tuple[Port, ...]:
    """Ports of the outputs, their sizes under the labels of the inputs'."""
    labels = _labels(entry)
    ports = []
    for name, node in zip(names, entry.output_nodes(), strict=True):
        value = node.meta["val"]
        shape = tuple(
            size if isinstance(size, int) else labels.setdefault(str(size), f"{name}_size_{dim}")
            for dim, size in enumerate(value.shape)
        )
        ports.append(Port(name, role_of(name), shape, value.dtype))
    return tuple(ports)


def _labels(entry: Entry) -> dict[str, str]:
    """The label of each size that an input has, by the size as text."""
    sizes = {
        label: size
        for port, node in zip(entry.inputs, entry.input_nodes(), strict=True)
        for size, label in zip(node.meta["val"].shape, port.shape, strict=True)
        if isinstance(label, str)
    }
    labels = {str(size): label for label, size in sizes.items()}
    parts = [sizes.get(label) for label in ("past_sequence_length", "sequence_length")]
    if None not in parts:
        labels[str(sum(parts[1:], parts[0]))] = "total_sequence_length"
    return labels
