"""The text part of a model that takes more: named by the user, and said wherever it is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from prunec.driver.left_out import describe_left_out
from prunec.driver.main import app
from prunec.driver.tasks import TaskError, task_of_config
from support.architectures import ARCHITECTURES
from support.configs.multimodal import MULTIMODAL


def test_a_text_part_is_a_task_only_where_it_is_named() -> None:
    config = MULTIMODAL["llava"][0]()
    with pytest.raises(TaskError, match='part = "text"'):
        task_of_config(config)
    assert task_of_config(config, "text").name == task_of_config(ARCHITECTURES["llama"]()).name


def test_a_model_without_a_text_part_stays_refused() -> None:
    for name in ("vit", "whisper", "t5"):
        with pytest.raises(TaskError) as refused:
            task_of_config(ARCHITECTURES[name](), "text")
        assert "part =" not in str(refused.value)


def test_what_is_left_out_is_said_in_one_sentence() -> None:
    assert describe_left_out({"class": "LlamaForCausalLM"}) is None
    origin = {"class": "X", "left_out": ["model.vision"], "inputs_left_out": ["pixel_values"]}
    said = describe_left_out(origin)
    assert said is not None
    assert all(name in said for name in ("X", "model.vision", "pixel_values"))


def test_explain_asks_for_the_part_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    MULTIMODAL["llava"][0]().save_pretrained(tmp_path)
    refused = CliRunner().invoke(app, ["explain", str(tmp_path)])
    assert refused.exit_code != 0
    assert "--part text" in refused.stderr
    explained = CliRunner().invoke(app, ["explain", str(tmp_path), "--part", "text", "--json"])
    assert explained.exit_code == 0
    assert "model.vision_tower" in " ".join(explained.stderr.split())
