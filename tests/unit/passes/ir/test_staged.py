"""Batches that advance together: the values of a plain run, and no more memory than a layer's."""

from __future__ import annotations

import torch

from prunec.passes.analysis.contractions import Contraction, contractions
from prunec.passes.ir import Program, language_feeds
from prunec.passes.ir.staged import StagedRun
from support.layer_inputs import layer_inputs
from support.models import random_tokens, small_program

PROGRAM = small_program(torch.float64)
BATCHES = random_tokens(6, 10).split(2)


def staged(program: Program, wanted: list[Contraction]) -> StagedRun:
    feeds = [language_feeds(program.main, batch) for batch in BATCHES]
    return StagedRun(program, program.main, feeds, [c.node.name for c in wanted])


def test_every_layer_is_given_what_a_plain_run_gives_it() -> None:
    read_once = ("o_proj.weight", "up_proj.weight", "down_proj.weight")
    wanted = [c for c in contractions(PROGRAM.main) if c.weight.endswith(read_once)]
    assert len(wanted) == 6
    run = staged(PROGRAM, wanted)
    for contraction in wanted:
        for place, batch in enumerate(BATCHES):
            node = run.advance(contraction.node.name, place)
            found = run.operand(node, contraction.operand, place).flatten(0, -2)
            assert torch.equal(found, layer_inputs(PROGRAM, contraction.weight, batch))


def test_a_weight_that_changes_between_two_stages_counts_from_then_on() -> None:
    first, last = (
        next(c for c in contractions(PROGRAM.main) if c.weight.endswith(name))
        for name in ("0.mlp.down_proj.weight", "1.mlp.down_proj.weight")
    )
    run = staged(PROGRAM, [first, last])
    for place in range(len(BATCHES)):
        run.advance(first.node.name, place)
    other = {first.weight: PROGRAM.weights[first.weight] * 2}
    run.weights |= other
    changed = PROGRAM.with_weights(other)
    for place, batch in enumerate(BATCHES):
        found = run.operand(run.advance(last.node.name, place), last.operand, place)
        assert torch.equal(found.flatten(0, -2), layer_inputs(changed, last.weight, batch))
    assert not torch.equal(PROGRAM.weights[first.weight], changed.weights[first.weight])


def test_what_is_held_does_not_grow_with_the_layers() -> None:
    wanted = [c for c in contractions(PROGRAM.main) if c.weight.endswith("down_proj.weight")]
    run = staged(PROGRAM, wanted)
    held = []
    for contraction in wanted:
        for place in range(len(BATCHES)):
            run.advance(contraction.node.name, place)
        values = run._values[-1].values()
        held.append(sum(v.numel() for v in values if isinstance(v, torch.Tensor)))
    first, last = held
    assert last <= first
