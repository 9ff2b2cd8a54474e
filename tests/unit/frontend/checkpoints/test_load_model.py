"""What is loaded is what the configuration names, and that is what is traced."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prunec.frontend.export import bind_weights, trace_config
from prunec.frontend.sources import SourceError, find_checkpoint
from prunec.passes.ir import execute, language_feeds
from support.checkpoints import write_text_model
from support.models import random_tokens
from support.oracle import relative_error
from support.text_models import TEXT_MODELS, text_model

ROUNDING = 1e-5


@pytest.mark.parametrize("name", TEXT_MODELS)
@torch.no_grad()
def test_the_class_of_the_configuration_is_loaded_and_bound_to_its_trace(
    name: str, tmp_path: Path
) -> None:
    checkpoint = find_checkpoint(str(write_text_model(tmp_path, text_model(name))))
    model = checkpoint.load_model()
    assert [type(model).__name__] == checkpoint.config.architectures
    program = bind_weights(trace_config(checkpoint.config), model, torch.float32)
    tokens = random_tokens(2, 11)
    found, wanted = execute(program, language_feeds(program.main, tokens)), model(tokens)
    for output, values in found.items():
        assert relative_error(values, wanted[output]) < ROUNDING, output


def test_a_head_that_the_file_lacks_is_named_with_its_class(tmp_path: Path) -> None:
    folder = write_text_model(tmp_path, text_model("classifier"))
    file = folder / "model.safetensors"
    kept = {n: w for n, w in load_file(file).items() if not n.startswith("classifier")}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"BertForSequenceClassification.*classifier\.bias"):
        find_checkpoint(str(folder)).load_model()
