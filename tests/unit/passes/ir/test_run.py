from __future__ import annotations

import pytest
import torch

from prunec.passes.ir import ProgramError, language_feeds
from support.architectures import architecture_program


def test_an_input_that_text_does_not_give_is_named() -> None:
    program = architecture_program("bert-masked-lm")
    with pytest.raises(ProgramError, match=r"text alone cannot run this program.*token_type_ids"):
        language_feeds(program.main, torch.ones(1, 4, dtype=torch.int64))
