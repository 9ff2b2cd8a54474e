"""The model knows every token that its tokenizer can make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from prunec.frontend.sources import SourceError, find_checkpoint
from support.models import llama_config


def resize(folder: Path, rows: int) -> None:
    config = llama_config(vocab_size=rows, bos_token_id=0, eos_token_id=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def extend(folder: Path, **changes: Any) -> Any:
    """Add tokens to the tokenizer and not to the model."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for name, tokens in changes.items():
        getattr(tokenizer, name)(tokens)
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_tokens_that_the_embedding_lacks_are_named(folder: Path) -> None:
    resize(folder, 270)
    with pytest.raises(
        SourceError, match=r"up to \d+, the model's embedding has 270 rows"
    ) as caught:
        find_checkpoint(str(folder))
    assert " = 270" in str(caught.value)
    assert "resize_token_embeddings" in str(caught.value)


@pytest.mark.parametrize(
    "added", [{"add_tokens": ["<more>"]}, {"add_special_tokens": {"pad_token": "<pad>"}}]
)
def test_tokens_added_above_the_vocabulary_are_named(added: dict[str, Any], folder: Path) -> None:
    extend(folder, **added)
    with pytest.raises(SourceError, match="lacks 1 tokens"):
        find_checkpoint(str(folder))


def test_a_token_of_the_chat_template_is_used(folder: Path) -> None:
    special = {"additional_special_tokens": ["<turn>"]}
    tokenizer = extend(folder, add_special_tokens=special)
    tokenizer.chat_template = "<turn>{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(folder)
    with pytest.raises(SourceError, match="<turn>"):
        find_checkpoint(str(folder))


def test_a_special_token_that_nothing_uses_does_no_harm(folder: Path) -> None:
    extend(folder, add_special_tokens={"additional_special_tokens": ["<image>"]})
    (note,) = find_checkpoint(str(folder)).notes
    assert "<image>" in note


def test_an_embedding_with_spare_rows_is_fine(folder: Path) -> None:
    resize(folder, 320)
    assert find_checkpoint(str(folder)).notes == ()


def test_a_missing_tokenizer_matters_where_one_is_needed(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    find_checkpoint(str(folder))
    with pytest.raises(SourceError, match=r"no tokenizer.*Copy tokenizer\.json"):
        find_checkpoint(str(folder), needs_tokenizer=True)


def test_a_damaged_tokenizer_is_said(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(SourceError, match="the tokenizer cannot be loaded"):
        find_checkpoint(str(folder))


def test_a_damaged_tokenizer_configuration_is_said(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("[")
    with pytest.raises(SourceError, match="the tokenizer cannot be loaded"):
        find_checkpoint(str(folder))
