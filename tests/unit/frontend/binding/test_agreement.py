"""A loaded model and its program are run once on the same inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from prunec.frontend.binding.agreement import require_agreement
from prunec.frontend.binding.feeds import random_inputs
from prunec.frontend.export import ExportError, trace_model
from prunec.passes.ir.shapes import copy_graph
from support.architectures import random_model_of, traced_architecture
from support.models import llama_config

KINDS = ["llama", "bert", "bert-classifier", "resnet", "clip", "t5", "whisper", "bart-decoder"]


@pytest.mark.parametrize("name", KINDS)
def test_every_weight_that_is_another_is_noticed(name: str) -> None:
    model, program = traced_architecture(name)
    require_agreement(program, model)
    largest = max(program.parameters().items(), key=lambda item: item[1].numel())[0]
    wrong = program.with_weights({largest: 1.5 * program.weights[largest]})
    with pytest.raises(ExportError, match=r"differ: \w+ by .* of the largest value, the limit"):
        require_agreement(wrong, model)


def test_a_cache_that_is_handed_on_wrongly_is_noticed() -> None:
    model, program = traced_architecture("llama")
    graph, _ = copy_graph(program.main.graph)
    output = graph.output_node()
    logits, key, value, *others = output.args[0]
    output.args = ((logits, value, key, *others),)
    wrong = replace(program, entries={"main": replace(program.main, graph=graph)})
    with pytest.raises(ExportError, match="differ: logits"):
        require_agreement(wrong, model)


class Counting(nn.Module):
    """Code that keeps a state: it gives another result at every call."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, x: torch.Tensor) -> Any:
        self.calls += 1
        return self.calls * self.inner(x)


def test_a_state_that_no_graph_holds_is_an_error() -> None:
    model = random_model_of(llama_config())
    model.model.layers[0].mlp = Counting(model.model.layers[0].mlp)
    with pytest.raises(ExportError, match=r"differ: logits .* not in its graph"):
        trace_model(model)


def test_a_model_that_cannot_run_by_itself_is_an_error() -> None:
    model, program = random_model_of(llama_config()), traced_architecture("llama")[1]
    model.lm_head = nn.Linear(7, 128)
    with pytest.raises(ExportError, match="LlamaForCausalLM itself cannot run"):
        require_agreement(program, model)


def test_one_row_of_the_inputs_is_padded_on_the_left() -> None:
    model, program = traced_architecture("llama")
    inputs = random_inputs(program.main, model)
    assert inputs["attention_mask"].sum(-1).tolist() == [8, 6]
    assert inputs["attention_mask"][1, 0] == 0
    assert inputs["input_ids"].max() < model.config.vocab_size
    assert not any(name.startswith("past") for name in inputs)


def test_numbers_that_are_not_numbers_are_no_agreement() -> None:
    model, program = traced_architecture("llama")
    norm = next(name for name in program.parameters() if name.endswith("norm.weight"))
    wrong = program.with_weights({norm: torch.full_like(program.weights[norm], float("nan"))})
    with pytest.raises(ExportError, match="nan"):
        require_agreement(wrong, model)


class WideHead(nn.Linear):
    """As in models that keep their head in float32 while the rest is narrow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.float())


def test_a_program_that_cannot_run_in_the_type_asked_for_is_said_in_words() -> None:
    model = random_model_of(llama_config()).bfloat16()
    model.lm_head = WideHead(60, 128, bias=False)
    with pytest.raises(ExportError, match=r"cannot run in bfloat16.*float32"):
        trace_model(model, torch.bfloat16)


def test_a_model_whose_own_results_are_no_numbers_is_said_to_be_damaged() -> None:
    model = random_model_of(llama_config())
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    with pytest.raises(ExportError, match=r"logits of LlamaForCausalLM itself is not a number"):
        trace_model(model)
