"""What is said where nobody named a budget and the default one does not fit."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from torch import nn

from prunec.frontend.export import trace_module
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import Score
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program, Role
from prunec.passes.plan import Allocate, Plan
from prunec.passes.surgery import RemoveStructures
from support.builder import Builder, aten


class Turned(nn.Module):
    """Two matrices that are multiplied with as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = (nn.Parameter(torch.randn(size)) for size in ((6, 16), (16, 4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.mm(x, self.up)).mm(self.down)


CONVOLUTIONS = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 5, 1))


def only_a_head() -> Program:
    """Tokens are looked up and sent to the logits."""
    b = Builder(Random(0), is_dynamic=False, width=6)
    tokens = b.add_input("tokens", Role.TOKENS, (2, 3), torch.int64)
    x = b.call(aten.embedding.default, b.parameter("table", 9, 12), tokens)
    y = b.call(aten.linear.default, x, b.parameter("head", 9, 12))
    b.add_output("logits", y, Role.LOGITS, (2, 3, 9))
    return b.finish()


def traced(module: nn.Module, x: torch.Tensor) -> Program:
    return trace_module(module.eval(), (x,))


def planned(program: Program, kind: str, **options: Any) -> Plan:
    context = Context()
    Score("magnitude", kinds=(kind,)).apply(program, context)
    Allocate(kinds=(kind,), multiple=1, **options).apply(program, context)
    assert context.plan is not None
    return context.plan


@pytest.mark.parametrize(
    ("module", "size", "kind"),
    [
        (Turned(), (3, 6), "ffn-channel"),
        (CONVOLUTIONS, (1, 3, 8, 8), "conv-channel"),
    ],
    ids=["matrices", "convolutions"],
)
def test_the_default_fits_blocks_without_a_linear_layer(
    module: nn.Module, size: tuple[int, ...], kind: str
) -> None:
    program = traced(module, torch.randn(size))
    after = RemoveStructures().apply(program, Context(plan=planned(program, kind)))
    assert measure(program).block_parameters == measure(program).parameters
    assert 0.65 < measure(after).block_parameters / measure(program).block_parameters <= 0.75


def test_the_default_of_a_program_without_blocks_is_not_called_by_an_option() -> None:
    program = only_a_head()
    assert measure(program).block_parameters == 0
    (structure,) = find_structures(program).structures
    with pytest.raises(PassError, match=r"name a budget .* such as parameters=0.75") as error:
        planned(program, structure.kind)
    assert "keep" not in str(error.value)


def test_a_default_that_cannot_be_reached_is_not_called_by_an_option() -> None:
    program = traced(Turned(), torch.randn(3, 6))
    with pytest.raises(PassError, match=r"the default asks for 120 of 160 block") as error:
        planned(program, "ffn-channel", floor=0.9)
    assert "Raise the share that stays" in str(error.value)
    assert "keep" not in str(error.value)


class Stream(nn.Module):
    """A stream with branches of one matrix each: nothing in it has an index of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.end = nn.Linear(4, 8), nn.Linear(8, 3)
        self.add, self.more = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        x = x + self.add(x)
        return self.end(x + self.more(x))


def test_a_stream_alone_can_be_cut_and_has_no_layers_to_protect() -> None:
    program = traced(Stream(), torch.randn(2, 4))
    assert {s.kind for s in find_structures(program).structures} == {"residual", "layer"}
    (cut,) = planned(program, "residual", parameters=0.5).cuts
    assert cut.kept_count < cut.size
    with pytest.raises(PassError, match="protect=0: there are no layers"):
        planned(program, "residual", parameters=0.5, protect=(0,))
