"""The text half of a model that takes more is traced only where the user says so."""

from __future__ import annotations

import pytest
import torch

from prunec.frontend.export import ExportError, trace_config, trace_model
from prunec.passes.ir import Role
from support.architectures import ARCHITECTURES, random_model_of
from support.configs.multimodal import MULTIMODAL


@pytest.mark.parametrize("name", MULTIMODAL)
def test_a_model_that_takes_more_than_text_is_refused_with_all_that_would_be_lost(
    name: str,
) -> None:
    build, name_of_input, parts = MULTIMODAL[name]
    with pytest.raises(ExportError, match=r'takes more than text: .*part = "text"') as refused:
        trace_config(build())
    for lost in (name_of_input, *parts):
        assert lost in str(refused.value)


@pytest.mark.parametrize("name", MULTIMODAL)
def test_the_text_part_says_what_it_leaves_out(name: str) -> None:
    build, name_of_input, parts = MULTIMODAL[name]
    model = random_model_of(build())
    program = trace_model(model, part="text")
    assert program.origin["part"] == "text"
    assert name_of_input in program.origin["inputs_left_out"]
    assert program.origin.get("left_out", []) == parts
    assert all(port.role is not Role.OTHER or "ids" in port.name for port in program.main.inputs)
    assert not any(weight.startswith(tuple(parts)) for weight in program.weights if parts)


def test_a_part_that_no_model_has_is_refused() -> None:
    with pytest.raises(ExportError, match="'vision'; there is 'text'"):
        trace_config(ARCHITECTURES["llama"](), part="vision")


def test_what_a_text_decoder_leaves_out_is_in_its_origin() -> None:
    left_out = trace_config(ARCHITECTURES["bart-decoder"]()).origin["left_out"]
    assert "model.decoder.layers.0.encoder_attn" in left_out
    assert len(left_out) == 4


def test_a_whole_text_model_leaves_nothing_out() -> None:
    origin = trace_model(random_model_of(ARCHITECTURES["llama"]()), torch.float32).origin
    assert not origin.keys() & {"part", "left_out", "inputs_left_out"}
