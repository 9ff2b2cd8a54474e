"""Add the mean of what was lost to the bias of the layers that lost inputs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch.fx import Graph, Node

from prunec.passes.analysis.contractions import Contraction
from prunec.passes.analysis.narrowed import Narrowed
from prunec.passes.analysis.statistics import stream_moments
from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Entry, Program, propagate
from prunec.passes.ir.shapes import add_weight, copy_graph
from prunec.passes.repair.narrowed import found_again, narrowed_contractions

aten = torch.ops.aten


@dataclass(frozen=True)
class CompensateBias(Pass):
    """Add W x̄ to the outputs of every contraction that lost inputs.

    W are the columns that went and x̄ the mean of their inputs over the calibration text in the
    program before the last cut. Layers without a bias get one, the others an addition to theirs,
    also to one that this pass added after an earlier cut.

    Changes: biases, or the graph where there was none.
    Keeps: every shape, every other weight.

    Raises:
        PassError: nothing was cut before, there is no calibration text, or another pass rewrote
            a layer since the cut.
    """

    name = "compensate-bias"
    source = "An et al. 2023, arXiv 2312.11983 (FLAP), eq. 5"

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        cut = context.require_cut(self.name)
        found = narrowed_contractions(cut, context)
        context.require_calibration(self.name)
        narrowed = [layer for layer in found if layer.contraction.expert is None]
        if len(narrowed) < len(found):
            context.notice(f"{self.name}: experts get no biases, refit repairs them")
        if not narrowed:
            return program
        again = found_again(narrowed, program, cut, self.name)
        by_node = {
            layer.contraction.node: (layer, there)
            for layer, there in zip(narrowed, again, strict=True)
        }
        lost = []
        for contraction, moments in stream_moments(
            cut.before, [layer.contraction for layer in narrowed], context, self.name
        ):
            layer, there = by_node[contraction.node]
            lost.append((there, _lost(layer, moments.total / moments.tokens, cut.before)))
        return context.repaired(program, _with_biases(program, lost))


def _lost(layer: Narrowed, mean: torch.Tensor, uncut: Program) -> torch.Tensor:
    """What the removed inputs added to the outputs on average: [out]."""
    matrix = layer.contraction.matrix(uncut.weights)
    return (matrix[:, layer.goes].double() @ mean[layer.goes]).to(matrix.dtype)


def _with_biases(program: Program, lost: Sequence[tuple[Contraction, torch.Tensor]]) -> Program:
    """The program with these vectors added to what the contractions return."""
    entry = program.main
    graph, copies = copy_graph(entry.graph)
    reads, weights = dict(entry.reads), dict(program.weights)
    for contraction, vector in lost:
        bias = _own_bias(contraction, entry)
        if bias is not None:
            weights[bias] = weights[bias] + vector
            continue
        added = _unused_name(_added_name(contraction), weights)
        weights[added] = vector
        _add_after(graph, copies[contraction.node], reads, added)
    changed = Entry(graph, reads, entry.inputs, entry.outputs)
    propagate(changed, weights)
    return replace(program, entries=dict.fromkeys(program.entries, changed), weights=weights)


def _own_bias(contraction: Contraction, entry: Entry) -> str | None:
    """The name of the bias that a contraction adds itself, or that this pass added after it."""
    given = contraction.bias
    if given is not None and given.name in entry.reads and len(given.users) == 1:
        return entry.reads[given.name]
    users = [u for u in contraction.node.users if u.target is aten.add.Tensor]
    operands = [n for u in users for n in u.all_input_nodes if n.name in entry.reads]
    names = [entry.reads[n.name] for n in operands if len(n.users) == 1]
    added = [name for name in names if name.startswith(_added_name(contraction))]
    return added[0] if added and len(contraction.node.users) == 1 else None


def _added_name(contraction: Contraction) -> str:
    return f"{contraction.weight}.compensation"


def _unused_name(name: str, weights: Mapping[str, torch.Tensor]) -> str:
    names = (f"{name}_{number}" for number in itertools.count(2))
    return name if name not in weights else next(n for n in names if n not in weights)


def _add_after(graph: Graph, node: Node, reads: dict[str, str], weight: str) -> None:
    placeholder = add_weight(graph, reads, weight)
    with graph.inserting_after(node):
        added = graph.call_function(aten.add.Tensor, (node, placeholder))
    node.replace_all_uses_with(added, delete_user_cb=lambda user: user is not added)
