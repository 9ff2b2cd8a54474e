"""Residual streams inside the branches of another: what goes with each, and their names."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from prunec.frontend.export import trace_module
from prunec.passes.analysis.bill import Bill
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import Scores
from prunec.passes.contract import Context
from prunec.passes.ir import Program
from prunec.passes.plan import Allocate, Cut, Plan
from prunec.passes.surgery import RemoveStructures, cut_program


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
