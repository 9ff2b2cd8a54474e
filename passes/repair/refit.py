"""Solve the layers that lost inputs again, by least squares against the uncut program."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import Node

from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import Entry, Program, language_feeds
from prunec.passes.ir.staged import StagedRun

_BATCH = 8  # windows a forward pass


@dataclass(frozen=True)
class Refit(Pass):
    """Refit every linear layer whose inputs were cut to what it returned before.

    With X the inputs it still gets (from a program that is itself pruned and refitted up to
    here), Y what the uncut layer returned on the same text and W the weight that was left, the
    new weight is W + D with D = argmin ‖S (X (W + D)ᵀ − Y)‖² + λ‖D‖². Pulling towards W rather
    than towards zero makes the refit of an uncut layer the identity. S holds back the tokens with
    the largest outputs; λ is `ridge` times the mean of the diagonal of XᵀS²X. Sums and solution
    in float64.

    Changes: the values of those weights.
    Keeps: every shape, every other weight; biases.

    Raises:
        PassError: nothing was cut before, or there is no calibration text.
    """

    name = "refit"
    source = "least-squares core of OSSCAR (2403.12983) and ZipLM (2302.04089)"

    ridge: float = 0.001

    def __post_init__(self) -> None:
        if self.ridge <= 0:
            raise ValueError(f"ridge={self.ridge} must be above 0")

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        if context.reference is None:
            raise PassError("there is no uncut program to aim at: put refit after a cut")
        windows = context.require_calibration("refit")
        targets = narrowed_layers(program, context.reference)
        if not targets:
            return program
        batches = [language_feeds(program.main, b) for b in windows.split(_BATCH)]
        uncut = [language_feeds(context.reference.main, b) for b in windows.split(_BATCH)]
        names = [node.name for node in targets]
        cut_run = StagedRun(program, program.main, batches, names)
        uncut_run = StagedRun(context.reference, context.reference.main, uncut, names)
        changed: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            for node in context.progress(targets, "Refit", len(targets)):
                weight = program.main.reads[_weight_of(node).name]
                changed[weight] = self._solve(node, weight, cut_run, uncut_run, len(batches))
                cut_run.weights[weight] = changed[weight]
        return program.with_weights(changed)

    def _solve(
        self, node: Node, weight: str, cut: StagedRun, uncut: StagedRun, batch_count: int
    ) -> torch.Tensor:
        before = cut.weights[weight].double()  # [out, in]
        gram = torch.zeros(before.shape[1], before.shape[1], dtype=torch.float64)
        cross = torch.zeros(before.shape[1], before.shape[0], dtype=torch.float64)
        for batch in range(batch_count):
            here, there = cut.advance(node.name, batch), uncut.advance(node.name, batch)
            x = cut.operand(here, 0, batch).flatten(0, -2)  # [tokens, in]
            wanted = uncut.run(there, batch).flatten(0, -2)  # [tokens, out]
            error = wanted - cut.peek(here, batch).flatten(0, -2)
            share = _shares(wanted)
            gram += (x.T @ (x * share)).double()
            cross += (x.T @ (error * share)).double()
        if not (torch.isfinite(gram).all() and torch.isfinite(cross).all()):
            raise PassError(f"activations at {node.name} are not finite: check the checkpoint")
        gram.diagonal().mul_(1 + self.ridge).clamp_min_(1e-30)
        step = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))  # [in, out]
        return (before + step.T).to(cut.weights[weight].dtype)


def _shares(outputs: torch.Tensor) -> torch.Tensor:
    """How much each token counts, [tokens, 1]: by 1 / ‖output‖², and the smaller half alike.

    A few tokens (attention sinks) carry outputs a thousand times larger than the rest. Counted
    like the others, they would be all that the layer is fitted to.
    """
    squares = outputs.square().sum(-1, keepdim=True)
    return (squares.median() / squares.clamp_min(1e-30)).sqrt().clamp_max(1.0)


def narrowed_layers(program: Program, reference: Program) -> list[Node]:
    """Linear layers that sum over fewer inputs than in the reference, in graph order.

    Layers whose outputs were cut as well have nothing to aim at and are left out.
    """
    uncut = {n.name: n for n in _linears(reference.main)}
    found = []
    for node in _linears(program.main):
        if node.name not in uncut:
            continue
        before = uncut[node.name].args[1].meta["val"].shape  # type: ignore[union-attr]
        after = _weight_of(node).meta["val"].shape
        if after[1] < before[1] and after[0] == before[0]:
            found.append(node)
    return found


def _linears(entry: Entry) -> list[Node]:
    return [
        node
        for node in entry.graph.nodes
        if node.target is torch.ops.aten.linear.default and _weight_of(node).name in entry.reads
    ]


def _weight_of(node: Node) -> Node:
    weight = node.args[1]
    assert isinstance(weight, Node)
    return weight
