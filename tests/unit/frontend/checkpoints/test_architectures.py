"""What transformers saves of its own models passes the look, whatever it renames on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunec.frontend.sources import find_checkpoint
from support.architectures import ARCHITECTURES, random_model

EVERY_RUN = ("gpt2", "qwen3-moe", "gpt-oss", "bert-classifier", "resnet", "t5", "wav2vec2")
NAMES = [n if n in EVERY_RUN else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES]


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_is_accepted_without_a_note(name: str, tmp_path: Path) -> None:
    model = random_model(name)
    model.save_pretrained(tmp_path)
    checkpoint = find_checkpoint(str(tmp_path))
    assert checkpoint.notes == ()
    assert checkpoint.load_model().state_dict().keys() == model.state_dict().keys()
