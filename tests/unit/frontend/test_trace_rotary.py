"""Rotary tables that change with the length of the text, on both sides of the change."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from prunec.frontend.export import ExportError, trace_model, trace_module
from prunec.passes.ir import Role, execute
from prunec.passes.ir.run import language_feeds
from support.architectures import random_model, traced_architecture
from support.configs.sizes import ROTARY_SWITCH, VOCABULARY
from support.oracle import relative_error

# float32 through two layers; the other table is off by more than 1e-2.
ROUNDING = 1e-5
LENGTHS = (3, ROTARY_SWITCH - 1, ROTARY_SWITCH, ROTARY_SWITCH + 1, 40)
SWITCHING = ("phi3-longrope", "llama-dynamic", "phimoe-longrope")


def logits_error(model: nn.Module, name: str, length: int) -> float:
    _, program = traced_architecture(name)
    tokens = torch.randint(3, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # A dynamic table of transformers is never shorter than the last text's: start anew.
        wanted = copy.deepcopy(model)(input_ids=tokens).logits
    outputs = execute(program, language_feeds(program.main, tokens))
    (port,) = program.main.ports(Role.LOGITS)[1]
    return relative_error(outputs[port.name], wanted)


@pytest.mark.parametrize("name", SWITCHING)
def test_both_sides_of_the_switch_equal_the_model(name: str) -> None:
    model, _ = traced_architecture(name)
    if model._can_set_experts_implementation():
        model.set_experts_implementation("eager")
    for length in LENGTHS:
        assert logits_error(model, name, length) < ROUNDING, length


@pytest.mark.parametrize("name", SWITCHING)
def test_the_two_tables_differ_by_more_than_rounding(name: str) -> None:
    model, _ = traced_architecture(name)
    tokens = torch.randint(3, VOCABULARY, (1, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        long = copy.deepcopy(model)(input_ids=tokens).logits[:, :9]
        short = copy.deepcopy(model)(input_ids=tokens[:, :9]).logits
    assert relative_error(long, short) > 1e-2


def test_what_a_model_ran_on_before_does_not_show_in_its_program() -> None:
    model = random_model("llama-dynamic")
    fresh = copy.deepcopy(model)
    tokens = torch.randint(3, VOCABULARY, (1, 60), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        model(input_ids=tokens)
    program = trace_model(model)
    for length in (9, ROTARY_SWITCH, 40):
        with torch.no_grad():
            wanted = copy.deepcopy(fresh)(input_ids=tokens[:, :length]).logits
        outputs = execute(program, language_feeds(program.main, tokens[:, :length]))
        assert relative_error(outputs["logits"], wanted) < ROUNDING, length


class Grown(nn.Module):
    """A table that is doubled for large values, kept for the next call, and asked about twice."""

    table: Tensor

    def __init__(self, questions: int = 2) -> None:
        super().__init__()
        self.questions = questions
        self.register_buffer("table", torch.arange(1.0, 6.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        for limit in range(self.questions):
            if x.max() > limit:
                self.table.mul_(2)
            else:
                self.table = self.table - 1
        return self.table


class Scaled(nn.Module):
    def __init__(self, questions: int = 2) -> None:
        super().__init__()
        self.grown = Grown(questions)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.grown(x)


@pytest.mark.parametrize("largest", [-0.5, 0.5, 1.5])
def test_every_path_through_two_branches_is_in_the_program(largest: float) -> None:
    program = trace_module(Scaled().eval(), (torch.zeros(4, 5),))
    x = torch.full((4, 5), largest)
    for _ in range(2):  # the second run starts from the same table
        assert torch.equal(execute(program, {"x": x})["output"], Scaled()(x))


def test_a_module_is_left_as_it_was() -> None:
    module = Scaled().eval()
    trace_module(module, (torch.zeros(4, 5),))
    assert torch.equal(module.grown.table, torch.arange(1.0, 6.0))
    assert "forward" not in vars(module.grown)


def test_too_many_branches_are_refused() -> None:
    with pytest.raises(ExportError, match="branch depends on the values") as refused:
        trace_module(Scaled(questions=9).eval(), (torch.zeros(4, 5),))
    assert any("more than 6 times" in reason for _, reason in refused.value.tried)
