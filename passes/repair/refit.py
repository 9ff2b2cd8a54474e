"""Solve the layers that lost inputs again, by least squares against what the whole ones return."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, Pass, PassError, explained
from prunec.passes.ir import Entry, Program, language_feeds
from prunec.passes.ir.selection import kept
from prunec.passes.ir.staged import StagedRun
from prunec.passes.plan import PlanError

_BATCH = 8  # windows a forward pass


@dataclass(frozen=True)
class Refit(Pass):
    """Refit every linear layer whose inputs were cut to what the whole layer would return.

    Layers are taken in order, and each sees what the cut and refitted layers before it produce.
    With Z all inputs that the whole layer would get there, X those that stay, W the whole weight
    and V its columns that stay, the new weight is V + D with
    D = argmin ‖X (V + D)ᵀ − Z Wᵀ‖² + λ‖D‖². λ is `ridge` times the mean of the diagonal of XᵀX.
    Sums and solution in float64.

    Since a cut equals a mask, it all runs on the uncut program, with the columns that went at
    zero in the layers already done.

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
        reference, plan = context.reference, context.plan
        if reference is None or plan is None:
            raise PassError("there is no cut to repair: put refit after remove-structures")
        windows = context.require_calibration("refit")
        targets = narrowed_layers(program, reference)
        if not targets:
            return program
        coupling = context.analyse(find_structures, reference)
        with explained(PlanError, "the plan of this run is not that of the cut"):
            selection = plan.selection(reference, coupling)
        feeds = [language_feeds(reference.main, batch) for batch in windows.split(_BATCH)]
        run = StagedRun(reference, reference.main, feeds, [node.name for node in targets])
        changed: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            for node in context.progress(targets, "Refit", len(targets)):
                name = program.main.reads[_weight_of(node).name]
                axis = coupling.weight_axes[name][1]
                stays = torch.from_numpy(kept(axis, selection))
                changed[name] = self._solve(node.name, run, run.weights[name], stays, len(feeds))
                masked = torch.zeros_like(run.weights[name])
                masked[:, stays] = changed[name]
                run.weights[name] = masked
        return program.with_weights(changed)

    def _solve(
        self, target: str, run: StagedRun, weight: torch.Tensor, stays: torch.Tensor, batches: int
    ) -> torch.Tensor:
        """The new weight of one layer, [out, inputs that stay]."""
        goes = torch.ones(weight.shape[1], dtype=torch.bool)
        goes[stays] = False
        gram = torch.zeros(len(stays), len(stays), dtype=torch.float64)
        cross = torch.zeros(len(stays), weight.shape[0], dtype=torch.float64)
        for batch in range(batches):
            node = run.advance(target, batch)
            inputs = run.operand(node, 0, batch).flatten(0, -2)  # [tokens, in]
            x = inputs[:, stays]
            lost = inputs[:, goes] @ weight[:, goes].T  # [tokens, out]
            gram += (x.T @ x).double()
            cross += (x.T @ lost).double()
        if not (torch.isfinite(gram).all() and torch.isfinite(cross).all()):
            raise PassError(f"activations at {target} are not finite: check the checkpoint")
        gram.diagonal().add_(self.ridge * gram.diagonal().mean().clamp_min(1e-30))
        step = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))  # [in, out]
        return (weight[:, stays].double() + step.T).to(weight.dtype)


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
