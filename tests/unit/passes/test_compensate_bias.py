from __future__ import annotations

import pytest
import torch

from prunec.passes.ir import Program, language_feeds
from prunec.passes.ir.staged import StagedRun
from prunec.passes.repair import CompensateBias
from prunec.passes.repair.narrowed import narrowed_contractions
from support.architectures import architecture_program
from support.cuts import TOKENS, cut
from support.models import small_program

PROGRAM = small_program(torch.float64)
SAME = 1e-10  # float64 sums in another order


def mean_output(program: Program, name: str) -> torch.Tensor:
    """The mean over the text of a layer's outputs, with the bias that was added after it."""
    node = next(n for n in program.main.graph.nodes if n.name == name)
    user = next(iter(node.users))
    added = any("compensation" in program.main.reads.get(n.name, "") for n in user.all_input_nodes)
    target = user if added else node
    run = StagedRun(program, program.main, [language_feeds(program.main, TOKENS)], [target.name])
    return run.peek(run.advance(target.name, 0), 0).flatten(0, -2).mean(0)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_first_narrowed_layer_has_the_mean_output_of_the_whole_one(name: str) -> None:
    program = architecture_program(name)
    after, context = cut(program, "ffn-channel", slice(0, 20))
    layer = narrowed_contractions(context.require_cut("a test"), context)[0].contraction.node.name
    expected = mean_output(program, layer)
    lost = float((mean_output(after, layer) - expected).abs().max())
    compensated = CompensateBias().apply(after, context)
    assert lost > 1e-6
    assert float((mean_output(compensated, layer) - expected).abs().max()) < SAME


def test_a_bias_that_is_there_is_added_to_and_one_that_is_not_is_made() -> None:
    for name, new in (("llama", True), ("gpt2", False)):
        after, context = cut(architecture_program(name), "ffn-channel", slice(0, 20))
        weights = CompensateBias().apply(after, context).weights.keys() - after.weights.keys()
        assert bool(weights) is new


def test_nothing_is_added_without_a_cut() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(None))
    assert CompensateBias().apply(after, context) is PROGRAM
