"""Residual streams inside the branches of another: what goes with each, and their names."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from prunec.frontend.export import trace_module
from prunec.passes.analysis.bill import Bill
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import Structure, find_structures
from prunec.passes.analysis.importance import Scores
from prunec.passes.contract import Context
from prunec.passes.ir import Program, cast
from prunec.passes.manager import run_pipeline
from prunec.passes.plan import Allocate, Cut, Plan
from prunec.passes.spec import parse_pipeline
from prunec.passes.surgery import RemoveStructures, cut_program
from support.laws import require_laws


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(x)))


class Group(nn.Module):
    """Blocks with a skip around them, in a narrower stream where `inner` is below `width`."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(inner), Block(inner))
        self.narrow, self.widen = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.widen(self.blocks(self.narrow(x)))


class SameWidth(Group):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.widen(self.blocks(x))


def program_of(kind: type[Group], inner: int) -> Program:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 12), kind(12, inner), kind(12, inner), nn.Linear(12, 3))
    return trace_module(module.eval(), (torch.randn(2, 4),))


def test_what_dropped_layers_take_together_is_foretold_where_one_lies_within_another() -> None:
    program = program_of(SameWidth, 12)
    coupling = find_structures(program)
    (stream,) = coupling.of_kind("layer")
    assert stream.size == 6
    assert len({m.weight for m in stream.members}) == len(stream.members) == 2 * (4 * 2 + 2)
    bill = Bill(program, coupling)
    for count in range(stream.size):
        for stays in itertools.combinations(range(stream.size), count):
            selection = {stream.atom: np.array(stays, dtype=np.int64)}
            assert bill.cost(selection) == measure(cut_program(program, coupling, selection))


def test_a_plan_over_nested_layers_reaches_what_it_says() -> None:
    program = program_of(SameWidth, 12)
    context = Context()
    (stream,) = context.analyse(find_structures, program).of_kind("layer")
    context.scores = Scores("order", {stream.name: torch.arange(stream.size, 0, -1).double()})
    Allocate(parameters=0.4, kinds=("layer",)).apply(program, context)
    assert context.plan is not None
    (budget,) = context.plan.reasons["budgets"]
    after = RemoveStructures().apply(program, context)
    assert budget["after"] == measure(after).parameters <= budget["limit"]


def test_streams_that_begin_with_one_weight_have_names_of_their_own() -> None:
    program = program_of(Group, 8)
    coupling = find_structures(program)
    names = [s.name for s in coupling.structures]
    assert len(coupling.of_kind("layer")) == 3
    assert len(set(names)) == len(names)
    for stream in coupling.of_kind("layer"):
        cut = Cut(stream.name, stream.kind, stream.index, stream.size, (0,))
        assert list(Plan((cut,), program.fingerprint()).selection(program, coupling)) == [
            stream.atom
        ]


@pytest.mark.parametrize("streams", [[], [0], [1], [0, 1]], ids=str)
def test_layers_go_from_a_stream_that_begins_at_an_input(streams: list[int]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(Block(6), Block(6), nn.Linear(6, 3)).eval()
    x = torch.randn(2, 6)
    program = run_pipeline(
        cast(trace_module(module, (x,)), torch.float64), parse_pipeline("clean"), Context()
    )
    coupling = find_structures(program)
    (layers,) = coupling.of_kind("layer")
    width = next(s for s in coupling.structures if ("2.weight", 1) in places(s))
    selection = {layers.atom: np.array(streams, dtype=int), width.atom: np.array([1, 2, 5])}
    require_laws(program, coupling, selection, {"input": x.double()}, Random(0))


def places(structure: Structure) -> set[tuple[str, int]]:
    return {(m.weight, m.dim) for m in structure.members}


def test_a_sum_that_scales_its_stream_is_no_residual_branch() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.branch, self.last = (nn.Linear(6, 6) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.first(x)
            return self.last(torch.add(self.branch(h), h, alpha=2))

    program = trace_module(Scaled().eval(), (torch.randn(2, 6),))
    assert not find_structures(program).of_kind("layer")
