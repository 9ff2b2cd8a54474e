"""Copy an exported graph into the form of a program: ATen calls and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from prunec.frontend.tracing.errors import ExportError, OperatorError, at, source_line
from prunec.passes.ir.verifier import is_allowed

_CLAIMS = {
    torch.ops.aten._assert_tensor_metadata.default,
    torch.ops.aten._assert_scalar.default,
    torch.ops.aten._assert_async.default,
    torch.ops.aten._assert_async.msg,
    torch.ops.aten.sym_constrain_range.default,
    torch.ops.aten.sym_constrain_range_for_size.default,
}
"""What the tracer asserts about dtypes and sizes: true of the traced precision, or of any feed."""

# A view asks for a memory layout that a cleaned or cut program may not have any more.
_LAYOUT_FREE: dict[Any, Any] = {
    torch.ops.aten.view.default: torch.ops.aten.reshape.default,
    torch.ops.aten._unsafe_view.default: torch.ops.aten.reshape.default,
}

_REGIONS = {
    "wrap_with_set_grad_enabled": 1,
    "wrap_with_autocast": 4,
}
"""Calls of a sub-graph that compute what it computes, and which argument the sub-graph is."""


def require_static_sizes(module: GraphModule) -> None:
    """Raise where a size depends on the values of a tensor.

    Raises:
        ExportError: names the node that makes it.
    """
    for node in _nodes(module):
        value = node.meta.get("val")
        if isinstance(value, (torch.Tensor, torch.SymInt)) and free_unbacked_symbols(value):
            raise ExportError(
                f"a size depends on data: {at(node)}. A program needs sizes that follow from those "
                "of its inputs",
                in_python="Replace the operator in the model, for example by a mask",
            )


def require_no_chance(module: GraphModule) -> None:
    """Raise where two runs on the same inputs would differ.

    Raises:
        ExportError: names the node that draws random numbers.
    """
    for node in _nodes(module):
        if node.op == "call_function" and _draws(node):
            raise ExportError(
                f"{at(node)} draws random numbers: two runs of it differ",
                in_python="Call module.eval() before tracing, or take the numbers as an input",
            )


def _nodes(module: GraphModule) -> Iterator[Node]:
    """The nodes of the graph, those of the sub-graphs that it calls first."""
    for part in reversed(list(module.modules())):
        if isinstance(part, GraphModule):
            yield from part.graph.nodes


def _draws(node: Node) -> bool:
    tags = getattr(node.target, "tags", ())
    if torch.Tag.nondeterministic_seeded not in tags:
        return False
    arguments = node.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip((a.name for a in arguments), node.args, strict=False)) | node.kwargs
    values = {a.name: given.get(a.name, a.default_value) for a in arguments}
    # Operators that can drop values do so in training, attention with a probability above 0.
    switches = [values[name] for name in ("train", "training", "dropout_p") if name in values]
    return all(switches)


def take_graph(module: GraphModule, skipped: set[str], names: Mapping[str, str]) -> Graph:
    """Copy the graph; of all that export notes about a node keep the line it came from.

    Args:
        module: The exported graph and the sub-graphs that it calls.
        skipped: Placeholders that nothing reads and that the copy shall not have.
        names: New names of placeholders.

    Raises:
        OperatorError: a call is no ATen operator.
    """
    graph = Graph()
    values: dict[Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            if node.name not in skipped:
                name = names.get(node.name, node.name)
                values[node] = graph.create_node("placeholder", name, name=name)
        elif node.op == "output":
            graph.output(tuple(_tensors(torch.fx.map_arg(node.args[0], lambda n: values[n]))))
        else:
            _take(node, module, graph, values)
    return graph


def _take(node: Node, module: GraphModule, graph: Graph, values: dict[Node, Any]) -> None:
    if node.target in _CLAIMS or (node.op == "get_attr" and _is_region(module, node)):
        return
    if getattr(node.target, "__name__", None) in _REGIONS:
        values[node] = _take_region(node, module, graph, values)
    elif node.op == "call_function" and _is_item_of_region(node, values):
        values[node] = values[node.args[0]][node.args[1]]  # type: ignore[index]
    elif node.op != "call_function" or not is_allowed(node.target):
        raise OperatorError(
            f"{at(node)} is no ATen operator, and torch knows no decomposition of it",
            in_python="Replace it in the model by operators of torch, or register a "
            "decomposition of it with torch.library",
        )
    else:
        copied = graph.node_copy(node, lambda n: values[n])
        copied.target = _LAYOUT_FREE.get(node.target, node.target)
        copied.meta = {}
        if node.stack_trace:
            copied.meta["source"] = source_line(node.stack_trace)
        values[node] = copied


def _is_region(module: GraphModule, node: Node) -> bool:
    return isinstance(getattr(module, str(node.target), None), GraphModule)


def _is_item_of_region(node: Node, values: Mapping[Node, Any]) -> bool:
    return bool(node.args) and isinstance(values.get(node.args[0]), (tuple, list))  # type: ignore[arg-type]


def _take_region(
    call: Node, module: GraphModule, graph: Graph, values: Mapping[Node, Any]
) -> tuple[Any, ...]:
    """Copy a sub-graph in place of its call; return what it returns."""
    name = call.target.__name__  # type: ignore[union-attr]
    place = _REGIONS[name]
    if name == "wrap_with_autocast" and call.args[2] is not False:
        raise ExportError(
            f"{at(call)} computes under autocast, where types depend on the machine",
            in_python="Leave out torch.autocast: a program is cast as a whole",
        )
    region = getattr(module, str(call.args[place].target))  # type: ignore[union-attr]
    inner: dict[Node, Any] = {}
    given = iter(call.args[place + 1 :])
    for node in region.graph.nodes:
        if node.op == "placeholder":
            argument = next(given)
            inner[node] = values[argument] if isinstance(argument, Node) else argument
        elif node.op == "output":
            result = torch.fx.map_arg(node.args[0], lambda n: inner[n])
            return result if isinstance(result, (tuple, list)) else (result,)  # type: ignore[return-value]
        else:
            _take(node, region, graph, inner)
    raise AssertionError("a graph ends in an output")


def _tensors(outputs: Any) -> list[Node]:
    """The nodes of nested outputs, without those that are None."""
    if isinstance(outputs, Node):
        return [outputs]
    return [node for item in outputs or () for node in _tensors(item)]
