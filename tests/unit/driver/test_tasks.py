"""Which task a model has, and what is refused before anything is traced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prunec.driver import job
from prunec.driver.explaining import MISTAKE
from prunec.driver.main import app
from prunec.driver.recipe import Recipe
from prunec.driver.tasks import TaskError, task_of_config, task_of_program
from prunec.driver.tasks.whole_text import WholeText, longest_text
from prunec.frontend.export import trace_config
from support.architectures import ARCHITECTURES, architecture_program, random_model
from support.models import llama_config, small_program
from support.runners import CharacterTokenizer
from support.text_models import TEXT_MODELS, text_model

REFUSED = {
    "vit": "reads images",
    "resnet": "reads images",
    "whisper": "reads sound with an encoder and writes with a decoder",
    "t5": "reads text with an encoder and writes with a decoder",
    "bart": "reads text with an encoder and writes with a decoder",
    "clip": "reads text and images",
}


def recipe(**sections: Any) -> Recipe:
    given = {"model": {"source": "x"}, "pipeline": {"passes": "clean"}, "output": {"folder": "out"}}
    return Recipe.model_validate({**given, **sections})


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_what_reads_a_text_whole_is_told_by_its_class(name: str) -> None:
    assert isinstance(task_of_config(text_model(name)), WholeText)


def test_what_writes_is_told_by_its_class_and_by_its_program() -> None:
    assert task_of_config(llama_config()).name == "generation"
    assert task_of_program(small_program()).name == "generation"
    assert task_of_program(trace_config(llama_config(), cache=False)).name == "generation"
    assert task_of_program(architecture_program("bert-masked-lm")).name == "whole-text"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_model_of_text_alone_is_refused_in_words(name: str) -> None:
    with pytest.raises(TaskError, match=rf"{REFUSED[name]}.*prunec explain"):
        task_of_config(ARCHITECTURES[name]())


def test_run_refuses_an_image_model_before_it_is_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_model("vit").save_pretrained(tmp_path / "vit")
    monkeypatch.setattr(job, "trace", None)  # would be called
    result = CliRunner().invoke(app, ["run", "half", "--model", str(tmp_path / "vit")])
    assert result.exit_code == MISTAKE
    assert "reads images" in result.stderr.replace("\n", " ")


def test_a_model_that_writes_nothing_needs_a_text() -> None:
    with pytest.raises(TaskError, match=r"calibration\.source is self.*writes no text"):
        WholeText().text_specs(recipe())


def test_it_is_measured_on_what_follows_in_its_text_or_on_another() -> None:
    source = {"source": "a.txt", "windows": 4, "window_tokens": 32, "every": 2}
    calibration, measured = WholeText().text_specs(recipe(calibration=source))
    assert calibration.with_special_tokens
    assert measured.with_special_tokens
    assert (measured.source, measured.first_window * measured.window_tokens) == ("a.txt", 512)
    _, other = WholeText().text_specs(recipe(calibration=source, evaluate={"text": "b.txt"}))
    assert (other.source, other.first_window, other.every) == ("b.txt", 0, 1)
    assert other.with_special_tokens


def test_a_window_longer_than_the_positions_is_refused() -> None:
    config = text_model("classifier")  # of 96 positions
    fitting = {"window_tokens": 96}
    source = {"source": "a.txt", **fitting}
    tokenizer = CharacterTokenizer()
    WholeText().require_windows(recipe(calibration=source, evaluate=fitting), config, tokenizer)
    with pytest.raises(TaskError, match=r"evaluate\.window_tokens is 512.*reads 96 tokens"):
        WholeText().require_windows(recipe(calibration=source), config, tokenizer)


def test_a_tokenizer_may_know_a_smaller_limit_or_none() -> None:
    tokenizer = CharacterTokenizer()
    assert longest_text([514, None], tokenizer) == 514
    assert longest_text([None], tokenizer) is None
    tokenizer.model_max_length = 512  # type: ignore[attr-defined]
    assert longest_text([514, None], tokenizer) == 512
    tokenizer.model_max_length = int(1e30)  # type: ignore[attr-defined]
    assert longest_text([None], tokenizer) is None
