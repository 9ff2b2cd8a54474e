"""The entry point that reads chosen units instead of whole weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.fx import Graph, Node

from prunec.passes.analysis.contractions import Contraction, contractions
from prunec.passes.analysis.coupling import Coupling
from prunec.passes.analysis.coupling.site import argument
from prunec.passes.contract import PassError, explained
from prunec.passes.ir import Entry, Program, ProgramError, Role, propagate
from prunec.passes.ir.program import Size
from prunec.passes.ir.shapes import copy_graph, is_tensor
from prunec.passes.surgery.remove_structures import CutError, cut_program
from prunec.passes.surgery.select_experts.groups import Group, Part
from prunec.passes.surgery.select_experts.prefill import part_port

aten = torch.ops.aten


def decode_entry(
    program: Program, coupling: Coupling, groups: Sequence[Group], leading: tuple[Size, ...]
) -> Entry:
    """What a cut to the chosen number of units makes, with the weights that it narrows as inputs.

    Args:
        program: Before the choice, with one entry point.
        coupling: Found in it.
        groups: Whose units are chosen.
        leading: The batch's size where every row has units of its own, else nothing.

    Raises:
        PassError: the cut depends on which units stay, or an operator cannot read units that
            differ between the rows of a batch.
    """
    cut = _cut_to_any(program, coupling, groups)
    graph, _ = copy_graph(cut.graph)
    reads = dict(cut.reads)
    entry = replace(cut, graph=graph, reads=reads)
    readers = list(contractions(entry))
    rows = _batch_size(entry) if leading else None
    ports = []
    for group in groups:
        for part in group.parts:
            own = [reader for reader in readers if reader.weight == part.weight]
            _read_from_port(graph, reads, part, own, rows)
            ports.append(part_port(part, program, group.count, leading))
    graph.eliminate_dead_code()
    entry = replace(entry, inputs=(*cut.inputs, *ports))
    with explained(ProgramError, _NOT_PER_ROW if leading else "decode"):
        propagate(entry, program.weights)
    _require_same_shapes(cut, entry)
    return entry


_NOT_PER_ROW = "per_sequence: not every operator can read units that differ between rows"


def _cut_to_any(program: Program, coupling: Coupling, groups: Sequence[Group]) -> Entry:
    """The cut's graph, which must be the same whichever units stay."""
    bare = {n: torch.empty_like(w, device="meta") for n, w in program.weights.items()}
    shapes_only = replace(program, weights=bare)
    first, last = (
        {g.structure.atom: np.arange(g.structure.size)[stays(g.count)] for g in groups}
        for stays in (lambda count: slice(None, count), lambda count: slice(-count, None))
    )
    with explained(CutError, "decode cannot be made"):
        one, other = (cut_program(shapes_only, coupling, s) for s in (first, last))
    tables = sorted(one.weights.keys() - program.weights.keys())
    if tables:
        raise PassError(
            f"the units of {_names(groups)} also pick from constants ({len(tables)} tables): what "
            "decode reads would depend on the choice in more than weights"
        )
    for here, there in zip(one.main.graph.nodes, other.main.graph.nodes, strict=True):
        if _text(here) != _text(there):
            raise PassError(
                f"node {here.name} depends on which units of {_names(groups)} stay, so one graph "
                "cannot decode with any of them"
            )
    return one.main


def _names(groups: Sequence[Group]) -> str:
    return ", ".join(group.structure.name for group in groups[:3])


def _text(node: Node) -> str:
    return repr((node.name, str(node.target), node.args, node.kwargs))


def _batch_size(entry: Entry) -> Node:
    """How many rows a batch has, known to every operator of the graph."""
    ports = zip(entry.inputs, entry.input_nodes(), strict=True)
    tokens = next(node for port, node in ports if port.role is Role.TOKENS)
    first = next(n for n in entry.graph.nodes if n.op == "call_function")
    with entry.graph.inserting_before(first):
        return entry.graph.call_function(aten.sym_size.int, (tokens, 0))


def _read_from_port(
    graph: Graph,
    reads: dict[str, str],
    part: Part,
    readers: Sequence[Contraction],
    rows: Node | None,
) -> None:
    """Let what read a weight read an input; the weight's own placeholder goes."""
    last = [n for n in graph.nodes if n.op == "placeholder"][-1]
    with graph.inserting_after(last):
        port = graph.placeholder(part.port.replace(".", "_"))
    (weight,) = (n for n in graph.nodes if reads.get(n.name) == part.weight)
    for reader in readers:
        _multiply_by(graph, reader.node, port, rows)
    if part.is_matrix:
        _drop_turns(graph, weight)
        if weight.users:
            others = sorted(user.name for user in weight.users)
            raise PassError(f"{part.weight} is read by {others} too, not as a matrix alone")
    else:
        weight.replace_all_uses_with(port)
    del reads[weight.name]
    graph.erase_node(weight)


def _multiply_by(graph: Graph, node: Node, matrix: Node, rows: Node | None) -> None:
    """Rewrite a contraction as a product with a matrix [out, in], its bias apart.

    Where every row has its own matrix, what the model has flattened to [batch * token, in] is
    taken apart for the product.
    """
    packet = node.target.overloadpacket  # type: ignore[union-attr]
    source, bias = node.args[0], None
    if packet is aten.linear:
        bias = argument(node, "bias")
    elif packet is aten.addmm:
        source, bias = node.args[1], node.args[0]
        if (argument(node, "beta"), argument(node, "alpha")) != (1, 1):
            raise PassError(f"node {node.name} scales its product or its bias, which has no rule")
    assert isinstance(source, Node)
    width, is_flat = source.meta["val"].shape[-1], source.meta["val"].dim() == 2
    with graph.inserting_before(node):
        if rows is not None and is_flat:
            source = graph.call_function(aten.reshape.default, (source, [rows, -1, width]))
        if rows is None:
            result = graph.call_function(aten.linear.default, (source, matrix))
        else:
            turned = graph.call_function(aten.transpose.int, (matrix, -1, -2))
            result = graph.call_function(aten.matmul.default, (source, turned))
        if bias is not None:
            result = graph.call_function(aten.add.Tensor, (result, bias))
        if rows is not None and is_flat:
            out = node.meta["val"].shape[-1]
            result = graph.call_function(aten.reshape.default, (result, [-1, out]))
    if "source" in node.meta:
        result.meta["source"] = node.meta["source"]
    node.replace_all_uses_with(result)
    graph.erase_node(node)


def _drop_turns(graph: Graph, weight: Node) -> None:
    """Erase what turned a matrix for the contractions that no longer read it."""
    for user in list(weight.users):
        if not user.users or _all_dead(user):
            _erase(graph, user)


def _all_dead(node: Node) -> bool:
    return all(user.op != "output" and _all_dead(user) for user in node.users)


def _erase(graph: Graph, node: Node) -> None:
    for user in list(node.users):
        _erase(graph, user)
    graph.erase_node(node)


def _require_same_shapes(cut: Entry, entry: Entry) -> None:
    """Compare every value with what it is in the cut graph."""
    wanted: Mapping[str, str] = {n.name: _shape(n) for n in cut.graph.nodes if is_tensor(n)}
    for node in entry.graph.nodes:
        if is_tensor(node) and _shape(node) != wanted.get(node.name, _shape(node)):
            raise PassError(
                f"{_NOT_PER_ROW}: node {node.name} would be {_shape(node)}, not "
                f"{wanted[node.name]}. Choose one set for the batch (per_sequence=false)"
            )


def _shape(node: Node) -> str:
    return str(tuple(node.meta["val"].shape))
