from __future__ import annotations

from types import SimpleNamespace

from prunec.frontend.export import describe
from support.models import llama_config

TOKENIZER = SimpleNamespace(bos_token_id=7, eos_token_id=8, pad_token_id=9)


def test_tokens_that_the_configuration_names_come_before_the_tokenizers() -> None:
    facts = describe(llama_config(pad_token_id=None), TOKENIZER)
    assert (facts["bos_token_id"], facts["eos_token_id"], facts["pad_token_id"]) == (1, 2, 9)
    assert (facts["max_position_embeddings"], facts["vocab_size"]) == (256, 128)


def test_without_a_tokenizer_what_is_absent_stays_so() -> None:
    assert describe(llama_config(pad_token_id=None))["pad_token_id"] is None
