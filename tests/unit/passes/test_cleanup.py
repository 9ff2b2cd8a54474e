from __future__ import annotations

from random import Random

import pytest
import torch

from prunec.frontend.export import trace_model
from prunec.passes.cleanup import DropDeadNodes, DropNoOps, MergeDuplicates
from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Role, cast, execute, language_feeds, verify
from prunec.passes.manager import run_pipeline
from prunec.passes.pipelines import CLEAN
from support.builder import Builder, aten
from support.models import random_tokens, small_model, small_program

TRACED = trace_model(small_model())
TOKENS = random_tokens(3, 7)


@pytest.mark.parametrize("step", CLEAN, ids=lambda step: step.name)
def test_a_cleanup_pass_changes_no_bit_of_the_outputs(step: Pass) -> None:
    after = step.apply(TRACED, Context())
    verify(after, TRACED)
    before = execute(TRACED, language_feeds(TRACED.main, TOKENS))
    for name, value in execute(after, language_feeds(after.main, TOKENS)).items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("step", [DropNoOps(), MergeDuplicates(), DropDeadNodes()])
def test_a_cleanup_pass_is_idempotent(step: Pass) -> None:
    clean = small_program()
    assert step.apply(clean, Context()) is clean


def test_cleaning_removes_nodes() -> None:
    clean = run_pipeline(TRACED, CLEAN, Context())
    assert len(clean.main.graph.nodes) < 0.9 * len(TRACED.main.graph.nodes)


def test_deliberate_up_casts_survive_cleaning() -> None:
    reduced = cast(small_program(), torch.bfloat16)
    in_float32 = [
        n
        for n in reduced.main.graph.nodes
        if n.target is torch.ops.aten.rsqrt.default and n.meta["val"].dtype == torch.float32
    ]
    assert len(in_float32) == 5  # two norms a layer and the last one


def test_a_copy_stays_where_its_layout_is_needed() -> None:
    b = Builder(Random(0), is_dynamic=False, width=6)
    x = b.add_input("pairs", Role.OTHER, (4, 7), torch.float64)
    odd = b.call(aten.slice.Tensor, x, 1, 0, 2)  # rows of two, seven apart
    number = b.call(aten.view_as_complex.default, b.call(aten.contiguous.default, odd))
    b.add_output("y", b.call(aten.view_as_real.default, number), Role.OTHER, (4, 2))
    program = b.finish()
    cleaned = run_pipeline(program, CLEAN, Context())
    feeds = {"pairs": torch.arange(28, dtype=torch.float64).view(4, 7)}
    assert torch.equal(execute(cleaned, feeds)["y"], feeds["pairs"][:, :2])
