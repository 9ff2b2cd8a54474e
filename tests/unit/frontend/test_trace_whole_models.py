"""The program of a model that is run whole against the model itself."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from prunec.frontend.export import trace_config
from prunec.passes.ir import Role, execute, verify
from support.architectures import ARCHITECTURES, WITHOUT_CACHE, random_feeds, traced_architecture
from support.configs.encoder_decoders import ENCODER_DECODERS
from support.configs.encoders import ENCODERS
from support.configs.images import IMAGES
from support.configs.towers import TOWERS
from support.oracle import relative_error
from support.required import marked

# float32 through two layers; a wrong mask or position is off by more than 1e-2.
ROUNDING = 1e-5
WHOLE_MODELS = [*ENCODERS, *IMAGES, *TOWERS, *ENCODER_DECODERS, *WITHOUT_CACHE]


def returned(model: Any, feeds: dict[str, torch.Tensor]) -> Any:
    takes_cache = "use_cache" in inspect.signature(model.forward).parameters
    return model(**feeds, **({"use_cache": False} if takes_cache else {}))


@pytest.mark.parametrize("name", marked(WHOLE_MODELS))
@torch.no_grad()
def test_every_output_equals_the_model(name: str) -> None:
    model, program = traced_architecture(name)
    verify(program)
    feeds = random_feeds(program.main, new=12)
    expected = returned(model, feeds)
    for output, found in execute(program, feeds).items():
        wanted = expected[output]
        if "attention_mask" in feeds and found.shape[:2] == feeds["attention_mask"].shape:
            real = feeds["attention_mask"].bool()  # what is computed for padding means nothing
            found, wanted = found[real], wanted[real]
        assert relative_error(found, wanted) < ROUNDING, output


NAMES = {
    "bert": (
        ["input_ids", "attention_mask", "token_type_ids"],
        ["last_hidden_state", "pooler_output"],
    ),
    "bert-classifier": (["input_ids", "attention_mask", "token_type_ids"], ["logits"]),
    "roberta": (["input_ids", "attention_mask"], ["last_hidden_state", "pooler_output"]),
    "vit": (["pixel_values"], ["last_hidden_state", "pooler_output"]),
    "resnet": (["pixel_values"], ["logits"]),
    "t5": (["input_ids", "attention_mask", "decoder_input_ids"], ["logits"]),
    "whisper": (["input_features", "decoder_input_ids"], ["logits"]),
    "clip": (
        ["input_ids", "attention_mask", "pixel_values"],
        ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"],
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_ports_have_the_names_that_users_know(name: str) -> None:
    entry = traced_architecture(name)[1].main
    assert ([p.name for p in entry.inputs], [p.name for p in entry.outputs]) == NAMES[name]
    assert all(p.shape[0] in ("batch_size", "image_batch_size") for p in entry.inputs)


def test_sizes_of_texts_are_open_and_those_of_images_fixed() -> None:
    entry = traced_architecture("clip")[1].main
    shapes = {p.name: p.shape for p in (*entry.inputs, *entry.outputs)}
    assert shapes["input_ids"] == ("batch_size", "sequence_length")
    assert shapes["pixel_values"] == ("image_batch_size", 3, 32, 32)
    assert shapes["logits_per_image"] == ("image_batch_size", "batch_size")


def test_roles_follow_the_names() -> None:
    inputs, outputs = (
        traced_architecture("t5")[1].main.ports(role) for role in (Role.TOKENS, Role.LOGITS)
    )
    assert [p.name for p in inputs[0]] == ["input_ids", "decoder_input_ids"]
    assert [p.name for p in outputs[1]] == ["logits"]


def test_a_named_class_comes_before_the_usual_one() -> None:
    assert trace_config(ARCHITECTURES["bert"]()).origin["class"] == "BertModel"
    assert trace_config(ARCHITECTURES["bert-masked-lm"]()).origin["class"] == "BertForMaskedLM"
