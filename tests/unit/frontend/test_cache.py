"""The cache is found by its type, whatever its name; without one a decoder is not traced."""

from __future__ import annotations

import copy
import inspect
from typing import Any, Optional

import pytest
import torch
from torch import nn
from transformers import Cache, DynamicCache
from transformers.modeling_outputs import ModelOutput

from prunec.frontend.export import ExportError, trace_config, trace_model
from prunec.frontend.tracing.architecture import fake_model
from prunec.frontend.tracing.cache import filled_cache, find_cache, keys_and_values
from prunec.passes.ir import Role
from support.architectures import random_model
from support.models import llama_config, small_model


def fake() -> Any:
    return fake_model(type(small_model()), llama_config(), torch.float32, None)


def forward_as(model: Any, name: str, annotation: Any) -> Any:
    """The model with another name and annotation of the parameter that takes its cache."""
    inner, old = model.forward, find_cache(model).parameter  # type: ignore[union-attr]

    def forward(**given: Any) -> Any:
        return inner(**{old if key == name else key: value for key, value in given.items()})

    taken = inspect.signature(inner).parameters.values()
    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        p.replace(name=name, annotation=annotation) if p.name == old else p for p in taken
    )
    model.forward = forward
    return model


@pytest.mark.parametrize("name", ["cache", "past_key_values", "what_was_seen"])
@pytest.mark.parametrize("annotation", [Cache, Cache | None, Optional[DynamicCache]])  # noqa: UP045
def test_a_parameter_that_takes_a_cache_is_found_under_any_name(name: str, annotation: Any) -> None:
    found = find_cache(forward_as(fake(), name, annotation))
    assert found is not None
    assert (found.parameter, found.shapes) == (name, ((3, 16),) * 4)


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_an_annotation_that_does_not_say_so_is_helped_by_the_name(name: str) -> None:
    found = find_cache(forward_as(fake(), name, tuple[torch.Tensor, ...] | None))
    assert found is not None
    assert found.parameter == name


def test_a_decoder_whose_cache_is_not_found_is_refused() -> None:
    model = forward_as(fake(), "memories", torch.Tensor | None)
    with pytest.raises(ExportError, match=r"no parameter .* takes a cache.*'memories'.*cache"):
        find_cache(model)


def test_a_decoder_that_returns_no_cache_is_refused() -> None:
    model = fake()
    inner = model.forward
    signature = inspect.signature(inner)

    def forward(**given: Any) -> Any:
        return ModelOutput(logits=inner(**given).logits)

    forward.__signature__ = signature  # type: ignore[attr-defined]
    model.forward = forward
    with pytest.raises(ExportError, match="returns no keys and values"):
        find_cache(model)


@pytest.mark.parametrize("name", ["bert", "bert-classifier", "t5", "vit"])
def test_a_model_that_writes_no_text_by_itself_has_none(name: str) -> None:
    model = random_model(name)
    assert find_cache(fake_model(type(model), model.config, torch.float32, None)) is None


@pytest.mark.parametrize("field", ["cache", "past_key_values", "state"])
def test_the_output_is_found_by_its_type(field: str) -> None:
    past = [torch.ones(1, 2, 3, width) for width in (4, 5, 6, 7)]
    found = keys_and_values({"logits": torch.ones(1), field: filled_cache(past)})
    assert found is not None
    assert all(torch.equal(one, other) for one, other in zip(found, past, strict=True))
    assert keys_and_values({"logits": torch.ones(1)}) is None


@pytest.mark.parametrize("name", ["openai-gpt", "xlnet"])
def test_a_generator_without_a_cache_is_traced_only_when_asked(name: str) -> None:
    model = random_model(name)
    with pytest.raises(ExportError, match="cache"):
        trace_model(model)
    assert not trace_model(model, cache=False).main.ports(Role.CACHE)[0]


def test_a_decoder_can_be_traced_without_its_cache() -> None:
    entry = trace_config(llama_config(), cache=False).main
    assert [p.name for p in entry.inputs][:2] == ["input_ids", "attention_mask"]
    assert not entry.ports(Role.CACHE)[0]


def test_the_loaded_model_is_left_alone() -> None:
    model = copy.deepcopy(small_model())
    before = inspect.signature(model.forward)
    trace_model(model)
    assert inspect.signature(model.forward) == before
    assert all(isinstance(p, nn.Parameter) for p in model.parameters())
