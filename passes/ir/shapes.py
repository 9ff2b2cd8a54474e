"""Give every node of a graph its shape and dtype, with one symbol for each dynamic dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)

from prunec.passes.ir.program import Entry, Port, ProgramError

aten = torch.ops.aten

# Example sizes. Distinct, so that the shape environment gives each label a symbol of its own and
# shares it between all inputs; primes and a sum of two, so that they and their products rarely
# meet a static size by chance; small, so that a table of positions is longer than any of them.
_EXAMPLES = {
    "batch_size": 19,
    "sequence_length": 23,
    "past_sequence_length": 29,
    "total_sequence_length": 52,
}
_MORE_EXAMPLES = (31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)

TAKES_ONLY_DTYPE_FROM_SECOND = (aten.to.other, aten.type_as.default)
"""Casts to the element type of another tensor."""


def takes_only_dtype(user: Node, node: Node) -> bool:
    """Whether a cast follows the element type of a node that it reads, and nothing else of it."""
    return user.target in TAKES_ONLY_DTYPE_FROM_SECOND and user.args[0] is not node


def example_sizes(ports: tuple[Port, ...]) -> dict[str, int]:
    """A concrete size for each label in these ports, the same at every call."""
    labels = [size for port in ports for size in port.shape if isinstance(size, str)]
    unknown = [label for label in dict.fromkeys(labels) if label not in _EXAMPLES]
    if len(unknown) > len(_MORE_EXAMPLES):
        raise ProgramError(f"{len(unknown)} labels of dynamic sizes are too many: {unknown[:5]} …")
    return {**_EXAMPLES, **dict(zip(unknown, _MORE_EXAMPLES, strict=False))}


def propagate(entry: Entry, weights: Mapping[str, torch.Tensor]) -> None:
    """Set ``meta["val"]`` of every node to a fake tensor or symbolic integer.

    The only function that writes to a graph that is part of a program: the values are derived
    from graph, weights and ports, so writing them again changes nothing. Layers repeat, and a
    pass changes few of them, so each distinct call is worked out once and its result shared,
    with what the nodes held before as well.

    Raises:
        ProgramError: an operator does not accept the shapes that reach it; names the node.
    """
    mode = _mode_of(entry.graph)
    known = {n.meta["call"]: n.meta["val"] for n in entry.graph.nodes if "call" in n.meta}
    sizes = example_sizes(entry.inputs)
    ports = iter(entry.inputs)
    for node in entry.graph.nodes:
        if node.op == "placeholder":
            if node.name in entry.reads:
                weight = weights[entry.reads[node.name]]
                with mode:
                    node.meta["val"] = torch.empty(weight.shape, dtype=weight.dtype)
            else:
                node.meta["val"] = _fake_input(mode, next(ports), sizes)
        elif node.op == "call_function":
            call = (node.target, _signature(node.args), _signature(node.kwargs))
            if call not in known:
                known[call] = _fake_call(mode, node)
            node.meta["val"], node.meta["call"] = known[call], call


def _mode_of(graph: Graph) -> FakeTensorMode:
    """The mode that the graph's values were made in, so that dynamic sizes stay what they are."""
    for node in graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, FakeTensor):
            return value.fake_mode
    mode = FakeTensorMode(shape_env=ShapeEnv())
    mode.cache_enabled = False  # with dynamic sizes, its bookkeeping costs as much as the calls
    return mode


def _signature(argument: Any) -> Any:
    """What a call's result depends on: of a tensor its type, sizes and strides."""
    if isinstance(argument, Node):
        argument = argument.meta["val"]
    if isinstance(argument, torch.Tensor):
        return argument.dtype, _signature(tuple(argument.shape)), _signature(argument.stride())
    if isinstance(argument, (list, tuple)):
        return tuple(_signature(a) for a in argument)
    if isinstance(argument, dict):
        return tuple((k, _signature(v)) for k, v in argument.items())
    if isinstance(argument, torch.SymInt):
        return argument.node.expr
    return type(argument), argument


def _fake_input(mode: FakeTensorMode, port: Port, sizes: Mapping[str, int]) -> torch.Tensor:
    shape = [sizes[s] if isinstance(s, str) else s for s in port.shape]
    dynamic = [DimDynamic.DUCK if isinstance(s, str) else DimDynamic.STATIC for s in port.shape]
    return mode.from_tensor(
        torch.empty(shape, dtype=port.dtype),
        source=ConstantSource(port.name.replace(".", "_")),
        symbolic_context=StatelessSymbolicContext(dynamic_sizes=dynamic),
    )


def _fake_call(mode: FakeTensorMode, node: Node) -> Any:
    def value(argument: Node) -> Any:
        return argument.meta["val"]

    args = torch.fx.map_arg(node.args, value)
    kwargs = torch.fx.map_arg(node.kwargs, value)
    try:
        # Without the dispatcher some operators (polar) turn dynamic sizes into numbers.
        with mode, enable_python_dispatcher(), torch.no_grad():
            return node.target(*args, **kwargs)  # type: ignore[operator]
    except Exception as error:  # whatever a kernel raises, the node is what the reader needs
        shapes = [tuple(a.meta["val"].shape) for a in node.all_input_nodes if is_tensor(a)]
        raise ProgramError(
            f"node {node.name} ({node.target}) does not accept inputs of shapes {shapes}: {error}"
        ) from error


def is_tensor(node: Node) -> bool:
    """Whether the node's value is one tensor (not a symbolic size or a list)."""
    return isinstance(node.meta.get("val"), torch.Tensor)


def static_shape(node: Node) -> tuple[int | None, ...]:
    """The sizes of a tensor node, None where dynamic."""
    return tuple(s if isinstance(s, int) else None for s in node.meta["val"].shape)


def is_dynamic(size: Any) -> bool:
    """Whether a size is a symbol, not a number."""
    return not isinstance(size, int)


def example_size(size: Any) -> int:
    """The size itself, or of a dynamic one what it is for the example sizes of its labels.

    Raises:
        ProgramError: the size depends on the values of tensors.
    """
    if isinstance(size, int):
        return size
    if not size.node.has_hint():
        raise ProgramError(f"the size {size} depends on values that only a run can tell")
    return int(size.node.hint)


def copy_graph(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """A copy with the same node names, and the map from each node to its copy."""
    copied = Graph()
    mapping: dict[Node, Node] = {}
    result = copied.graph_copy(graph, mapping)
    source = graph.output_node()
    output = copied.output(result)
    output.meta = dict(source.meta)
    mapping[source] = output
    return copied, mapping


def add_weight(graph: Graph, reads: dict[str, str], name: str) -> Node:
    """Let a graph that is being made read one more weight; weights come before inputs."""
    last = [n for n in graph.nodes if n.op == "placeholder" and n.name in reads][-1]
    with graph.inserting_after(last):
        node = graph.placeholder(name.replace(".", "_"))
    reads[node.name] = name
    return node
