"""Add the mean of what was lost to the bias of the layers that lost inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch.fx import Graph, Node

from prunec.passes.analysis.contractions import Contraction
from prunec.passes.analysis.narrowed import Narrowed
from prunec.passes.analysis.statistics import stream_moments
from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Entry, Program, propagate
from prunec.passes.ir.shapes import add_weight, copy_graph
from prunec.passes.repair.narrowed import narrowed_contractions

aten = torch.ops.aten


@dataclass(frozen=True)
class CompensateBias(Pass):
    """Add W x̄ to the outputs of every contraction that lost inputs.

    W are the columns that went and x̄ the mean of their inputs over the calibration text in the
    uncut program. Layers without a bias get one, the others an addition to theirs.

    Changes: biases, or the graph where there was none.
    Keeps: every shape, every other weight.

    Raises:
        PassError: nothing was cut before, or there is no calibration text.
    """

    name = "compensate-bias"
    source = "An et al. 2023, arXiv 2312.11983 (FLAP), eq. 5"

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        found = narrowed_contractions(program, context)
        context.require_calibration(self.name)
        narrowed = [layer for layer in found if layer.contraction.expert is None]
        if len(narrowed) < len(found):
            context.notice(f"{self.name}: experts get no biases, refit repairs them")
        if not narrowed:
            return program
        reference = context.reference
        assert reference is not None
        by_node = {layer.contraction.node.name: layer for layer in narrowed}
        stream = stream_moments(
            reference, [layer.contraction for layer in narrowed], context, self.name
        )
        lost = {
            contraction: _lost(
                by_node[contraction.node.name], moments.total / moments.tokens, reference
            )
            for contraction, moments in stream
        }
        return _with_biases(program, lost)


def _lost(layer: Narrowed, mean: torch.Tensor, reference: Program) -> torch.Tensor:
    """What the removed inputs added to the outputs on average: [out]."""
    matrix = layer.contraction.matrix(reference.weights)
    return (matrix[:, layer.goes].double() @ mean[layer.goes]).to(matrix.dtype)


def _with_biases(program: Program, lost: Mapping[Contraction, torch.Tensor]) -> Program:
    """The program with these vectors added to what the contractions return."""
    ((name, entry),) = program.entries.items()
    graph, _ = copy_graph(entry.graph)
    reads, weights = dict(entry.reads), dict(program.weights)
    nodes = {node.name: node for node in graph.nodes}
    for contraction, vector in lost.items():
        node = nodes[contraction.node.name]
        bias = _own_bias(node, entry)
        if bias is not None:
            weights[bias] = weights[bias] + vector
            continue
        added = f"{contraction.weight}.compensation"
        weights[added] = vector
        _add_after(graph, node, reads, added)
    changed = Entry(graph, reads, entry.inputs, entry.outputs)
    propagate(changed, weights)
    return replace(program, entries={name: changed}, weights=weights)


def _own_bias(node: Node, entry: Entry) -> str | None:
    """The name of the bias that a contraction adds itself, where nothing else reads it."""
    places: dict[object, int] = {aten.linear.default: 2, aten.addmm.default: 0}
    place = places.get(node.target)
    bias = node.args[place] if place is not None and place < len(node.args) else None
    if not isinstance(bias, Node) or bias.name not in entry.reads or len(bias.users) != 1:
        return None
    return entry.reads[bias.name]


def _add_after(graph: Graph, node: Node, reads: dict[str, str], weight: str) -> None:
    placeholder = add_weight(graph, reads, weight)
    with graph.inserting_after(node):
        added = graph.call_function(aten.add.Tensor, (node, placeholder))
    node.replace_all_uses_with(added, delete_user_cb=lambda user: user is not added)
