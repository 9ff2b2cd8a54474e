"""What is wrong with config.json is said in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

from prunec.frontend.sources import SourceError, find_checkpoint, find_config
from support.checkpoints import change_json

DAMAGED = {
    "cut short": ('{"model_type": "lla', "is damaged"),
    "no bytes": ("", "0 bytes"),
    "a list": ("[1, 2]", "a list of JSON, not an object"),
    "no text": ("\udcff\udcfe", "is damaged"),
}
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "no model_type": ({"model_type": None}, "names no model_type"),
    "odd model_type": ({"model_type": 7}, "names no model_type but 7"),
    "unknown model_type": (
        {"model_type": "perceptron"},
        f"'perceptron', which transformers {transformers.__version__} does not know",
    ),
    "sizes that do not fit": ({"num_attention_heads": 7}, "not a multiple"),
    "refused values": ({"hidden_size": "wide"}, "is no configuration that transformers"),
    "no model's class": ({"architectures": ["LlamaConfig"]}, "LlamaConfig, which is no model"),
    "unknown class": ({"architectures": ["MyForCausalLM"]}, "names the class MyForCausalLM"),
    "odd class": ({"architectures": "LlamaForCausalLM"}, "not a list of names"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_named(case: str, folder: Path) -> None:
    text, words = DAMAGED[case]
    (folder / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    for find in (find_checkpoint, find_config):
        with pytest.raises(SourceError, match=r"config\.json") as caught:
            find(str(folder))
        assert words in str(caught.value)


@pytest.mark.parametrize("case", CHANGES)
def test_values_that_transformers_does_not_know_are_named(case: str, folder: Path) -> None:
    changes, words = CHANGES[case]
    change_json(folder / "config.json", **changes)
    for find in (find_checkpoint, find_config):
        with pytest.raises(SourceError) as caught:
            find(str(folder))
        assert words in str(caught.value)


def test_a_class_of_another_architecture_is_named_with_the_architecture(folder: Path) -> None:
    change_json(folder / "config.json", architectures=["GPT2LMHeadModel"])
    with pytest.raises(SourceError, match=r"names the class GPT2LMHeadModel and .* 'llama'"):
        find_checkpoint(str(folder))


def test_sizes_that_make_no_model_are_said_before_the_trace(folder: Path) -> None:
    change_json(folder / "config.json", pad_token_id=100_000)
    with pytest.raises(
        SourceError, match=r"no LlamaForCausalLM can be made of config\.json.*adding_idx"
    ):
        find_checkpoint(str(folder))


def test_an_empty_folder_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no config\.json; there is nothing"):
        find_checkpoint(str(tmp_path))


def test_a_folder_around_a_gguf_file_points_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    with pytest.raises(SourceError, match=r"Give the GGUF file itself: .*small\.gguf"):
        find_checkpoint(str(tmp_path))


def test_everything_that_is_wrong_is_in_one_message(folder: Path) -> None:
    change_json(folder / "config.json", architectures=["MyForCausalLM"])
    (folder / "adapter_model.safetensors").write_bytes(b"")
    (folder / "tokenizer.json").write_text("{")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-4])
    with pytest.raises(SourceError) as caught:
        find_checkpoint(str(folder))
    said = str(caught.value)
    assert "for 4 reasons" in said
    for number, words in enumerate(("MyForCausalLM", "adapter", "cut short", "tokenizer"), 1):
        (line,) = [one for one in said.splitlines() if one.startswith(f"{number}. ")]
        assert words in line


def test_the_configuration_alone_can_be_explained(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert find_config(str(folder)).model_type == "llama"


@pytest.mark.parametrize("text", ["{", "[]"])
def test_damaged_defaults_of_generation_are_named(text: str, folder: Path) -> None:
    (folder / "generation_config.json").write_text(text)
    with pytest.raises(SourceError, match=r"generation_config\.json"):
        find_checkpoint(str(folder))


@pytest.mark.parametrize("text", ["{}", '{"eos_token_id": "end"}', '{"temperature": -1}'])
def test_odd_defaults_of_generation_do_no_harm(text: str, folder: Path) -> None:
    (folder / "generation_config.json").write_text(text)
    assert find_checkpoint(str(folder)).load_model() is not None


def test_several_end_tokens_are_fine(folder: Path) -> None:
    change_json(folder / "config.json", eos_token_id=[0, 5, 7])
    assert find_checkpoint(str(folder)).load_model().config.eos_token_id == [0, 5, 7]
