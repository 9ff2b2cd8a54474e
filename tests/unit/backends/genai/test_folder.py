"""The folder for onnxruntime-genai."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from prunec.backends.genai import GenaiError, write_genai_folder
from prunec.passes.ir import Program
from support.models import small_program
from support.uneven import narrow_value_program, uneven_program


def program_with_facts(**facts: object) -> Program:
    program = small_program()
    return replace(program, origin={**program.origin, **facts})


def with_end(program: Program) -> Program:
    return replace(program, origin={"eos_token_id": 2, **program.origin})


def written(program: Program, folder: Path) -> dict[str, dict[str, object]]:
    (folder / "model.onnx").touch()
    return json.loads(write_genai_folder(with_end(program), folder).read_text())


def test_the_configuration_holds_sizes_from_the_graph(tmp_path: Path) -> None:
    config = written(small_program(), tmp_path)["model"]
    decoder = config["decoder"]
    assert isinstance(decoder, dict)
    assert config["vocab_size"] == 128
    assert (decoder["hidden_size"], decoder["head_size"]) == (60, 16)
    assert (decoder["num_attention_heads"], decoder["num_key_value_heads"]) == (6, 3)
    assert decoder["num_hidden_layers"] == 2
    assert decoder["inputs"]["past_key_names"] == "past_key_values.%d.key"


def test_an_uneven_program_gives_the_sizes_of_its_first_layer(tmp_path: Path) -> None:
    decoder = written(uneven_program(), tmp_path)["model"]["decoder"]
    assert isinstance(decoder, dict)
    assert (decoder["num_attention_heads"], decoder["num_key_value_heads"]) == (4, 2)


def test_tokens_and_context_come_from_the_origin(tmp_path: Path) -> None:
    program = program_with_facts(
        bos_token_id=1, eos_token_id=[2, 3], pad_token_id=None, max_position_embeddings=256
    )
    config = written(program, tmp_path)
    assert config["model"]["eos_token_id"] == [2, 3]
    assert config["model"]["pad_token_id"] == 2
    assert config["model"]["context_length"] == config["search"]["max_length"] == 256


def test_a_program_that_does_not_tell_where_a_text_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(GenaiError, match="which token ends a text"):
        write_genai_folder(program_with_facts(eos_token_id=None), tmp_path)
    assert not (tmp_path / "genai_config.json").exists()


def test_values_of_another_width_than_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(GenaiError, match=r"past_key_values\.1\.value .* 11 .* 16"):
        write_genai_folder(with_end(narrow_value_program()), tmp_path)


def test_a_folder_without_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GenaiError, match=r"has no model\.onnx"):
        write_genai_folder(small_program(), tmp_path)


def test_a_tokenizer_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(GenaiError, match=r"has no tokenizer\.json"):
        write_genai_folder(with_end(small_program()), tmp_path, tokenizer=tmp_path)
    assert not (tmp_path / "genai_config.json").exists()
