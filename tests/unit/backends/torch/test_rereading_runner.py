"""A decoder without a cache writes what it writes with one."""

from __future__ import annotations

import pytest
import torch

from prunec.backends.runner import generate
from prunec.backends.torch import RereadingRunner, TorchRunner, open_runner
from prunec.frontend.export import trace_model
from prunec.passes.ir import Program, ProgramError
from support.models import random_tokens, small_model, small_program


@pytest.fixture(scope="module")
def without_cache() -> Program:
    return trace_model(small_model(), cache=False)


def test_the_runner_follows_the_program(without_cache: Program) -> None:
    assert isinstance(open_runner(without_cache), RereadingRunner)
    assert isinstance(open_runner(small_program()), TorchRunner)


def test_both_write_the_same_after_padded_prompts(without_cache: Program) -> None:
    tokens, mask = random_tokens(2, 7), torch.ones(2, 7, dtype=torch.int64)
    mask[1, :3] = 0
    written = [
        generate(open_runner(program), tokens, mask, new_tokens=6)
        for program in (without_cache, small_program())
    ]
    assert torch.equal(*written)


def test_a_step_without_what_came_before_is_refused(without_cache: Program) -> None:
    with pytest.raises(ProgramError, match="keeps no cache: 1 tokens of a text of 4"):
        TorchRunner(without_cache).step(random_tokens(1, 1), torch.ones(1, 4), None)
