"""What cannot be traced is refused in a sentence that names the place and the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import PreTrainedConfig

from prunec.frontend.export import (
    ExportError,
    bind_weights,
    trace_config,
    trace_model,
    trace_module,
)
from support.architectures import random_model
from support.configs.untraceable import NOT_TRACEABLE
from support.text_models import text_model


@torch.library.custom_op("prunec_tests::mystery", mutates_args=())
def mystery(x: Tensor) -> Tensor:
    return x.clone()


@mystery.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


OPEN_BATCH = ({0: Dim.DYNAMIC},)


def under_autocast(x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return x @ x.t()


def choose(x: Tensor) -> Tensor:
    return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))


REFUSED = {
    "positions of what is true": (lambda x: x[x > 0], "size depends on data: node index"),
    "a split by values": (lambda x: x.split(x[0].abs().int().tolist()), "size depends on data"),
    "a branch on values": (lambda x: x + 1 if x.sum() > 0 else x, "branch depends on the values"),
    "a write to an input": (lambda x: x.add_(1), "writes to ['x']"),
    "a number returned": (lambda x: (x, 5), "output 1 of the module is no tensor"),
    "random numbers": (lambda x: x + torch.rand_like(x), "node rand_like"),
    "autocast": (under_autocast, "computes under autocast"),
    "a branch in the graph": (choose, "no ATen operator"),
    "an operator outside ATen": (mystery, "prunec_tests.mystery.default"),
    "an error of the module": (lambda x: x @ x, "test_trace_refusals.py"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_names_the_reason(case: str) -> None:
    function, reason = REFUSED[case]
    with pytest.raises(ExportError) as refused:
        trace_module(Apply(function).eval(), (torch.ones(4, 5),))
    assert reason in str(refused.value)


def test_a_number_that_varies_is_refused() -> None:
    class Scale(nn.Module):
        def forward(self, x: Tensor, factor: int) -> Tensor:
            return x * factor

    with pytest.raises(ExportError, match="factor is a number that varies"):
        trace_module(Scale(), (torch.ones(4, 5), 3), (None, Dim.DYNAMIC))


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.Dropout()], ids=["batch norm", "dropout"])
def test_training_mode_is_refused(layer: nn.Module) -> None:
    with pytest.raises(ExportError, match=r"module\.eval\(\)"):
        trace_module(nn.Sequential(nn.Linear(5, 5), layer).train(), (torch.ones(4, 5),))


@pytest.mark.parametrize("name", NOT_TRACEABLE)
def test_a_model_that_no_program_can_be_made_of_says_why(name: str) -> None:
    build, reason = NOT_TRACEABLE[name]
    with pytest.raises(ExportError) as refused:
        trace_config(build())
    assert reason in str(refused.value)


def test_nothing_is_printed_beside_the_refusal(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportError):
        trace_config(NOT_TRACEABLE["led"][0]())
    assert "\n" not in capfd.readouterr().err


def test_a_configuration_of_no_model_is_refused() -> None:
    with pytest.raises(ExportError, match="no model in transformers"):
        trace_config(PreTrainedConfig())


def test_a_named_class_that_transformers_lacks_is_not_replaced_by_another() -> None:
    config = random_model("llama").config
    config.architectures = ["LlavaLlamaForCausalLM"]
    with pytest.raises(ExportError, match=r"LlavaLlamaForCausalLM, which transformers .* not have"):
        trace_config(config)


def test_weights_of_another_class_are_refused() -> None:
    program = trace_config(random_model("bert-classifier").config)
    with pytest.raises(ExportError, match="BertForSequenceClassification"):
        bind_weights(program, random_model("bert"), torch.float32)


def test_a_module_of_another_kind_is_sent_to_example_inputs() -> None:
    with pytest.raises(ExportError, match="trace_module"):
        trace_model(nn.Linear(5, 6))


def test_a_size_that_the_module_fixes_is_named() -> None:
    with pytest.raises(ExportError, match=r"x.*\.size\(\)\[0\].*constant \(4\)"):
        trace_module(Apply(lambda x: x.reshape(2, 10)).eval(), (torch.ones(4, 5),), OPEN_BATCH)


def test_a_classifier_that_cannot_find_the_end_of_its_texts_says_what_to_set() -> None:
    config = text_model("decoder-classifier")
    config.pad_token_id = None
    with pytest.raises(ExportError, match=r"set pad_token_id in config\.json"):
        trace_config(config)
