"""Cut a prefill behind what it sums over the prompt, so that no token waits for the choice."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

import onnx_ir as ir
from onnx_ir.convenience import extract

_NAME = re.compile(r"[A-Za-z_]\w*")


def split_choice(
    model: ir.Model, first: Sequence[str], second: Sequence[str]
) -> tuple[ir.Model, ir.Model]:
    """Part what a model returns into two models, of which the second goes on from the first.

    The first holds all that its outputs need, and whatever else reads a value for each token. The
    second holds the rest: to choose by sums over the prompt, to gather, to solve. Weights are
    shared, not copied.

    Args:
        model: With ``input_ids`` [batch, token], and some size of its tokens in every input; it
            is left as it is.
        first: Outputs of the first; it returns as well what the second reads.
        second: Outputs of the second, which reads further outputs of the first by their names.
    """
    graph = model.graph
    fixed = _fixed(graph)
    staying = _staying(graph, first)
    read = (v for node in graph if node not in staying for v in _reads(node))
    crossing = (v for v in read if v.producer() in staying)
    handed = list(dict.fromkeys(str(v.name) for c in crossing for v in _typed(c, fixed)))
    inputs = [str(value.name) for value in graph.inputs]
    return _part(model, inputs, [*first, *handed]), _part(model, handed, second)


def _typed(value: ir.Value, fixed: Collection[ir.Node | None]) -> Iterator[ir.Value]:
    """The value where its type is known, as a model's input must have it; else what it is of.

    What is fixed each part computes for itself.
    """
    node = value.producer()
    if node is None or node in fixed:
        return
    if value.dtype is not None and value.shape is not None:
        yield value
        return
    for earlier in _reads(node):
        yield from _typed(earlier, fixed)


def _part(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> ir.Model:
    graph = extract(model.graph, inputs, outputs)
    return ir.Model(graph, ir_version=model.ir_version, functions=list(model.functions.values()))


def _staying(graph: ir.Graph, outputs: Collection[str]) -> set[ir.Node | None]:
    """The nodes of the first model."""
    of_tokens = _of_tokens(graph)
    found: set[ir.Node | None] = set()
    left = [v.producer() for v in graph.outputs if v.name in outputs]
    left += [node for node in graph if any(v in of_tokens for v in _reads(node))]
    while left:
        node = left.pop()
        if node is not None and node not in found:
            found.add(node)
            left += [value.producer() for value in _reads(node)]
    return found


def _of_tokens(graph: ir.Graph) -> set[ir.Value]:
    """Values with a dynamic size besides the batch's; those of unknown sizes by what made them."""
    (tokens,) = (value for value in graph.inputs if value.name == "input_ids")
    assert tokens.shape is not None
    batch = str(tokens.shape[0])
    found = set(graph.inputs)
    for node in graph:
        is_of_them = any(value in found for value in _reads(node))
        for value in node.outputs:
            sizes = None if value.shape is None else [str(size) for size in value.shape]
            if sizes is None or "None" in sizes:
                is_long = is_of_them
            else:
                is_long = any(set(_NAME.findall(size)) - {batch} for size in sizes)
            if is_long:
                found.add(value)
    return found


def _fixed(graph: ir.Graph) -> set[ir.Node | None]:
    """The nodes that return the same whatever the model is given: each part has its own."""
    found: set[ir.Node | None] = {None}
    given = set(graph.inputs)
    for node in graph:
        if all(v not in given and v.producer() in found for v in _reads(node)):
            found.add(node)
    return found


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads of its graph, in the graphs of its attributes too."""
    yield from (value for value in node.inputs if value is not None)
    for body in _bodies(node):
        own = set(body)
        inner = (value for inside in body for value in _reads(inside))
        yield from (v for v in (*inner, *body.outputs) if v.producer() not in own)


def _bodies(node: ir.Node) -> list[ir.Graph]:
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type is ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return found
