"""Score residual branches by how much they turn the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch.nn import functional as F

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.coupling.branches import Branch
from prunec.passes.analysis.importance.scores import InputsCriterion, Scores
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program, language_feeds
from prunec.passes.ir.staged import StagedRun

_BATCH = 8  # windows a forward pass


@final
class BlockInfluence(InputsCriterion):
    """One minus the mean cosine, over tokens, of the stream before and after a branch is added.

    The paper's layers are whole decoder layers; here each branch of the stream, attention or
    feed-forward, is a unit of its own. Only for kind ``layer``.
    """

    name = "block-influence"
    source = "Men et al. 2024, arXiv 2403.03853 (ShortGPT), eq. 1"
    scores_branches = True

    def score_on(
        self,
        fed: Program,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> Scores:
        """See `InputsCriterion.score_on`.

        Raises:
            PassError: there is no text, or a stream is not finite; names the node.
        """
        batches = context.require_calibration(f"criterion={self.name}").split(_BATCH)
        feeds = [language_feeds(program.main, batch) for batch in batches]
        by_atom = {found.atom: found.branches for found in coupling.branches}
        wanted = {b.add: b for s in structures for b in by_atom[s.atom]}
        ordered = [wanted[node] for node in program.main.graph.nodes if node in wanted]
        run = StagedRun(fed, fed.main, feeds, [b.add.name for b in ordered])
        influence = {
            branch.add: _influence(run, branch, len(feeds))
            for branch in context.progress(ordered, "Block influence", len(ordered))
        }
        return Scores(
            self.name,
            {
                s.name: torch.tensor(
                    [influence[b.add] for b in by_atom[s.atom]], dtype=torch.float64
                )
                for s in structures
            },
        )


@torch.no_grad()
def _influence(run: StagedRun, branch: Branch, batches: int) -> float:
    total, tokens = 0.0, 0
    for batch in range(batches):
        node = run.advance(branch.add.name, batch)
        before = run.operand(node, branch.add.args.index(branch.stream), batch)
        cosines = F.cosine_similarity(before.double(), run.peek(node, batch).double(), dim=-1)
        total += float(cosines.sum())
        tokens += cosines.numel()
    if total != total:
        raise PassError(f"the stream at {branch.add.name} is not finite: check the checkpoint")
    return 1 - total / tokens
