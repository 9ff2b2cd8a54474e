from __future__ import annotations

import numpy as np
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import Score
from prunec.passes.contract import Context, CutRecord
from prunec.passes.ir import Program, language_feeds
from prunec.passes.ir.staged import StagedRun
from prunec.passes.plan import Cut, Plan
from prunec.passes.repair import Refit
from prunec.passes.surgery import cut_program
from support.models import random_tokens, small_program

PROGRAM = small_program(torch.float64)
COUPLING = find_structures(PROGRAM)
TOKENS = random_tokens(8, 64)
# Score and refit damp alike but around different points; with this much text it hardly shows.
DAMPING_LEEWAY = 0.02


def layer_error(after: Program, layer: str) -> float:
    """Half the squared difference of one layer's outputs, summed over the text."""
    runs = [
        StagedRun(p, p.main, [language_feeds(p.main, TOKENS)], [layer]) for p in (PROGRAM, after)
    ]
    expected, found = (run.peek(run.advance(layer, 0), 0) for run in runs)
    return float((found - expected).square().sum() / 2)


def test_the_predicted_loss_is_what_the_refit_leaves() -> None:
    context = Context(calibration=TOKENS)
    Score("obs", ("kv-group",)).apply(PROGRAM, context)
    assert context.scores is not None
    # The first layer: below it nothing is cut, so its inputs are the same before and after.
    group = COUPLING.of_kind("kv-group")[0]
    layer = next(
        n.name
        for n in PROGRAM.main.graph.nodes
        if n.target is torch.ops.aten.linear.default and "o_proj" in n.args[1].name
    )
    for unit in range(group.size):
        keep = np.delete(np.arange(group.size), unit)
        cut = Cut(group.name, group.kind, group.index, group.size, tuple(keep.tolist()))
        after = cut_program(PROGRAM, COUPLING, {group.atom: keep})
        context.cut = CutRecord(PROGRAM, after, Plan((cut,), PROGRAM.fingerprint()))
        refitted = Refit().apply(after, context)
        predicted = float(context.scores.by_structure[group.name][unit])
        assert abs(layer_error(refitted, layer) - predicted) < DAMPING_LEEWAY * predicted


def test_criteria_in_a_row_add_up_kind_by_kind() -> None:
    context = Context(calibration=TOKENS)
    Score("wanda", ("ffn-channel",)).apply(PROGRAM, context)
    Score("obs", ("kv-group",)).apply(PROGRAM, context)
    assert context.scores is not None
    assert context.scores.criterion == "wanda + obs"
    wanted = {s.name for s in COUPLING.of_kind("kv-group", "ffn-channel")}
    assert context.scores.by_structure.keys() == wanted
