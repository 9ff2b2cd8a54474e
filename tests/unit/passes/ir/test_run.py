from __future__ import annotations

import pytest
import torch

from prunec.passes.ir import ProgramError, language_feeds
from support.architectures import architecture_program


def test_an_input_that_text_does_not_give_is_named() -> None:
    program = architecture_program("clip")
    with pytest.raises(ProgramError, match=r"text alone cannot run this program.*pixel_values"):
        language_feeds(program.main, torch.ones(1, 4, dtype=torch.int64))


def test_a_text_is_the_first_of_a_pair() -> None:
    program = architecture_program("bert-masked-lm")
    tokens = torch.tensor([[5, 6, 7, 8]])
    feeds = language_feeds(program.main, tokens)
    assert feeds["token_type_ids"].tolist() == [[0, 0, 0, 0]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1, 1]]
