"""Operations are those that torch's own counter finds in a run, whatever the operators."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from prunec.passes.analysis.contraction_table import products
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.operations import Run
from prunec.passes.contract import Context
from prunec.passes.ir import Program
from prunec.passes.manager import run_pipeline
from prunec.passes.spec import parse_pipeline
from support.architectures import ARCHITECTURES, architecture_program, random_feeds
from support.counter import counted_by_torch

QUICK = ("llama", "falcon-mqa", "bloom", "gpt2", "mixtral", "resnet", "vit", "swin", "whisper")
SWEEP = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES]


def operations_of_a_run(program: Program, feeds: Mapping[str, torch.Tensor]) -> int:
    sizes = {
        label: size
        for port in program.main.inputs
        for label, size in zip(port.shape, feeds[port.name].shape, strict=True)
        if isinstance(label, str)
    }
    run = Run(program.main, sizes)
    return sum(run.operations(p) for node in program.main.graph.nodes for p in products(node))


@pytest.mark.parametrize("name", SWEEP)
def test_the_products_of_a_graph_are_those_that_torch_counts(name: str) -> None:
    program = architecture_program(name, torch.float32)
    feeds = random_feeds(program.main, past=3)
    assert operations_of_a_run(program, feeds) == sum(counted_by_torch(program, feeds).values())


@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon-mqa", "bloom"])
def test_a_token_costs_what_the_matrices_of_one_step_do(name: str) -> None:
    program = architecture_program(name, torch.float32)
    feeds = random_feeds(program.main, batch=1, new=1)
    counted = counted_by_torch(program, feeds)
    of_attention = counted.pop("bmm") + counted.pop("baddbmm", 0)
    assert of_attention
    assert measure(program).flops_per_token == sum(counted.values())


@pytest.mark.parametrize("name", ["vit", "swin", "resnet", "convnext"])
def test_an_image_costs_all_that_torch_counts(name: str) -> None:
    program = architecture_program(name, torch.float32)
    feeds = random_feeds(program.main, batch=1)
    counted = counted_by_torch(program, feeds)
    assert measure(program).flops_per_token == sum(counted.values())


@pytest.mark.parametrize("name", ["vit", "swin", "resnet", "convnext"])
def test_a_budget_of_operations_holds_by_the_count_of_torch(name: str) -> None:
    program = architecture_program(name, torch.float32)
    there = {s.kind for s in find_structures(program).structures}
    kinds = "+".join(sorted(there & {"conv-channel", "ffn-channel", "head"}))
    spec = (
        f"score{{criterion=magnitude kinds={kinds}}},allocate{{flops=0.6 kinds={kinds} multiple=1}}"
    )
    after = run_pipeline(program, parse_pipeline(f"{spec},remove-structures"), Context())
    feeds = random_feeds(program.main, batch=1)
    before, left = (sum(counted_by_torch(p, feeds).values()) for p in (program, after))
    assert 0.58 < left / before <= 0.6
