"""Which units matter in text at large: the prompt's statistic, averaged over calibration text."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prunec.passes.contract import Context
from prunec.passes.ir import Program, language_feeds
from prunec.passes.ir.staged import StagedRun
from prunec.passes.surgery.select_experts.groups import Group
from prunec.passes.surgery.select_experts.statistic import energy_shares, score_together

_BATCH = 8  # windows a forward pass


@torch.no_grad()
def prior_scores(
    program: Program, groups: Sequence[Group], context: Context, wanted_by: str
) -> list[torch.Tensor]:
    """The mean of the statistic s / sqrt(tokens) over all windows, for each group.

    Args:
        program: With one entry point.
        groups: In any order.
        context: Has the text and shows the progress.
        wanted_by: For the message where there is no text.

    Returns:
        [units], float32, for each group.

    Raises:
        PassError: there is no text.
    """
    windows = context.require_calibration(wanted_by)
    batches = windows.split(_BATCH)
    feeds = [language_feeds(program.main, batch) for batch in batches]
    order = {node.name: place for place, node in enumerate(program.main.graph.nodes)}
    readers = [(r, group, part) for group in groups for part in group.summing for r in part.inputs]
    readers.sort(key=lambda found: order[found[0].node.name])
    run = StagedRun(program, program.main, feeds, [r.node.name for r, _, _ in readers])
    shares = {group.index: [torch.zeros(())] * len(batches) for group in groups}
    for reader, group, part in context.progress(readers, "Prior", len(readers)):
        for place, batch in enumerate(batches):
            node = run.advance(reader.node.name, place)
            found = run.operand(node, reader.operand, place)
            by_token = found.reshape(*batch.shape, found.shape[-1])
            one = energy_shares(by_token, torch.ones(batch.shape))
            one = part.positions.sum_over_units(one, part.positions.table)
            shares[group.index][place] = shares[group.index][place] + one
    return [_mean(shares[group.index], batches) for group in groups]


def _mean(shares: Sequence[torch.Tensor], batches: Sequence[torch.Tensor]) -> torch.Tensor:
    totals = [
        score_together(one, torch.ones(batch.shape))
        for one, batch in zip(shares, batches, strict=True)
    ]
    return torch.stack(totals).sum(0) / sum(len(batch) for batch in batches)
