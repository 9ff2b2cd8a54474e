"""The traced step of a language model against the model itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache

from prunec.passes.ir import Role, execute, verify
from prunec.passes.ir.run import next_cache, positions
from support.architectures import ARCHITECTURES, WITHOUT_CACHE, random_feeds, traced_architecture
from support.configs.decoders import DECODERS
from support.configs.experts import EXPERT_DECODERS
from support.models import under_its_name
from support.oracle import relative_error
from support.required import marked

# float32 through two layers; a wrong mask, position or cache is off by more than 1e-2.
ROUNDING = 1e-5
PROMPT, TOTAL = 11, 17  # the second step goes beyond the sliding windows of 6
LANGUAGE_MODELS = [n for n in (*DECODERS, *EXPERT_DECODERS) if n not in WITHOUT_CACHE]


def spelled_out(model: Any) -> Any:
    """The model with its experts computed one by one, not in the way that is traced."""
    if model._can_set_experts_implementation():
        model.set_experts_implementation("eager")
    return model


@pytest.mark.parametrize("name", marked(LANGUAGE_MODELS))
@torch.no_grad()
def test_two_steps_with_padding_equal_the_model(name: str) -> None:
    model, program = traced_architecture(name)
    model, entry = spelled_out(model), program.main
    verify(program)
    feeds = random_feeds(entry, new=TOTAL)
    mask = feeds["attention_mask"]
    # The model's own cache, with sliding windows where its configuration has them.
    kept, cache = DynamicCache(config=model.config), None
    for start, end in ((0, PROMPT), (PROMPT, TOTAL)):
        step = {"input_ids": feeds["input_ids"][:, start:end], "attention_mask": mask[:, :end]}
        if "position_ids" in feeds:
            step["position_ids"] = positions(mask)[:, start:end]
        expected = model(**step, **under_its_name(model, kept), use_cache=True).logits
        past = {p.name: feeds[p.name] for p in entry.ports(Role.CACHE)[0]}
        outputs = execute(program, {**step, **(cache or past)})
        real = mask[:, start:end].bool()
        assert relative_error(outputs["logits"][real], expected[real]) < ROUNDING
        cache = next_cache(entry, outputs)


@pytest.mark.parametrize("name", marked(LANGUAGE_MODELS))
def test_the_cache_keeps_every_token(name: str) -> None:
    _, program = traced_architecture(name)
    inputs, outputs = program.main.ports(Role.CACHE)
    feeds = random_feeds(program.main, new=2, past=20)
    grown = execute(program, feeds)
    assert (
        len(inputs) == len(outputs) == 2 * ARCHITECTURES[name]().get_text_config().num_hidden_layers
    )
    for before, after in zip(inputs, outputs, strict=True):
        assert after.shape == tuple(
            "total_sequence_length" if s == "past_sequence_length" else s for s in before.shape
        )
        dim = before.shape.index("past_sequence_length")
        assert torch.equal(grown[after.name].narrow(dim, 0, 20), feeds[before.name])
