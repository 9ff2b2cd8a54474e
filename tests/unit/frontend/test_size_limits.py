"""A graph that is one side of a branch on a size is refused; a table that ends is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import BertModel, Cache, LlamaForCausalLM

from prunec.frontend.export import ExportError, trace_model, trace_module
from prunec.passes.ir import execute
from support.architectures import random_model
from support.models import llama_config


class DoublesLongTexts(LlamaForCausalLM):
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = None,
        **more: Any,
    ) -> Any:
        assert input_ids is not None
        given = {"cache": cache, "use_cache": use_cache, **more}
        result = super().forward(input_ids, attention_mask, position_ids, **given)
        if input_ids.shape[1] > 8:
            result.logits = result.logits * 2
        return result


class DoublesLongInputs(BertModel):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        result = super().forward(input_ids, attention_mask)
        if input_ids.shape[1] > 10:
            result.last_hidden_state = result.last_hidden_state * 2
        return result


def test_a_decoder_that_decides_by_the_length_is_refused() -> None:
    with pytest.raises(ExportError, match=r"by the length of a text .* holds to 8 tokens"):
        trace_model(DoublesLongTexts(llama_config()).eval())


def test_an_encoder_that_decides_by_the_length_is_refused() -> None:
    model = DoublesLongInputs(random_model("bert").config).eval()
    with pytest.raises(ExportError, match=r"by the length of a text .* holds to 10 tokens"):
        trace_model(model)


@pytest.mark.parametrize("name", ["bert", "gpt-neo", "xglm"])
def test_a_table_of_positions_that_ends_is_no_branch(name: str) -> None:
    assert trace_model(random_model(name)).origin["size_limits"]["sequence_length"] in (94, 96)


def test_a_model_of_any_length_has_no_limit() -> None:
    assert "size_limits" not in trace_model(random_model("llama")).origin


class Apply(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function
        self.table = nn.Parameter(torch.randn(9, 4))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.function(self.table, x, y)


def on_length(table: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return x * 2 if x.shape[1] > 8 else x + y


def to_its_end(table: Tensor, x: Tensor, y: Tensor) -> Tensor:
    if x.shape[1] > len(table):
        raise ValueError("too long")
    return x + y


X, Y = torch.randn(2, 5, 4), torch.randn(2, 5, 4)


@pytest.mark.parametrize("hint", [Dim.DYNAMIC, Dim.AUTO], ids=["dynamic", "auto"])
@pytest.mark.parametrize("is_named", [False, True])
def test_a_module_that_decides_by_a_size_is_refused(hint: Any, is_named: bool) -> None:
    inputs: Any = {"x": X, "y": Y} if is_named else (X, Y)
    shapes = {"x": {1: hint}, "y": {1: hint}} if is_named else ({1: hint}, {1: hint})
    with pytest.raises(ExportError, match=r"decides by a size .* holds to 8"):
        trace_module(Apply(on_length), inputs, shapes)


def test_a_module_that_ends_where_its_trace_does_is_traced() -> None:
    module = Apply(to_its_end)
    program = trace_module(module, (X, Y), ({1: Dim.AUTO}, {1: Dim.AUTO}))
    assert program.origin["size_limits"] == {"x_size_1": 9}
    assert torch.equal(next(iter(execute(program, {"x": X, "y": Y}).values())), X + Y)


def test_a_range_that_the_user_gave_is_taken() -> None:
    n = Dim("n", min=2, max=8)
    program = trace_module(Apply(on_length), (X, Y), ({1: n}, {1: n}))
    assert torch.equal(next(iter(execute(program, {"x": X, "y": Y}).values())), X + Y)
