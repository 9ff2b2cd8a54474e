"""The runner's bookkeeping, with a program in the place of the engine and the CPU as device."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prunec.backends.runner import generate
from prunec.backends.tensorrt import EngineError, TensorRTRunner, language_profiles
from prunec.backends.tensorrt import runner as runner_module
from prunec.backends.torch import TorchRunner
from support.engine_of_program import ProgramContext, loaded_program, run_on_cpu
from support.models import random_tokens, small_program

PROFILES = language_profiles(batch_size=3, new_tokens=16, max_length=24)


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[ProgramContext]:
    """Put a program behind every engine; gives the contexts that are made."""
    program = small_program()
    made: list[ProgramContext] = []
    loaded = loaded_program(program, program.main, PROFILES, made)
    monkeypatch.setattr(runner_module, "load_engine", lambda path: loaded)
    run_on_cpu(monkeypatch)
    return made


def test_it_generates_what_torch_generates(contexts: list[ProgramContext]) -> None:
    tokens = random_tokens(3, 7)
    mask = torch.ones_like(tokens)
    mask[0, :3] = 0
    engine = TensorRTRunner(Path("model.engine"))
    expected = generate(TorchRunner(small_program()), tokens, mask, new_tokens=6)
    assert torch.equal(generate(engine, tokens, mask, new_tokens=6), expected)
    assert engine.vocabulary == 128
    assert [context.profile for context in contexts] == [0, 1]


def test_sizes_that_no_profile_accepts_are_named(contexts: list[ProgramContext]) -> None:
    engine = TensorRTRunner(Path("model.engine"))
    tokens = random_tokens(1, 17)
    with pytest.raises(EngineError, match=r"no profile accepts .*'sequence_length': 17"):
        engine.step(tokens, torch.ones_like(tokens), None)


def test_a_failed_execution_quotes_the_library(
    contexts: list[ProgramContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = TensorRTRunner(Path("model.engine"))
    engine._loaded.messages = SimpleNamespace(quoted=lambda: "out of memory")
    monkeypatch.setattr(ProgramContext, "execute_async_v3", lambda self, stream: False)
    tokens = random_tokens(1, 3)
    with pytest.raises(EngineError, match="could not run the engine: out of memory"):
        engine.step(tokens, torch.ones_like(tokens), None)
