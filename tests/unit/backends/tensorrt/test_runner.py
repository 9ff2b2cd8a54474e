"""The runner's bookkeeping, with a program in the place of the engine and the CPU as device."""

import contextlib
import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prunec.backends.runner import generate
from prunec.backends.tensorrt import EngineError, TensorRTRunner, language_profiles
from prunec.backends.tensorrt import runner as runner_module
from prunec.backends.tensorrt.manifest import TensorSpec
from prunec.backends.torch import TorchRunner
from prunec.passes.ir import Port, Program, execute
from support.models import random_tokens, small_program

PROFILES = language_profiles(batch_size=3, new_tokens=16, max_length=24)


class ProgramContext:
    """An execution context that runs a program on the memory at the given addresses."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.profile = -1
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self.shapes[name] = shape

    def set_tensor_address(self, name: str, address: int) -> None:
        assert address != 0, f"{name} has no address"
        self.addresses[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch, new = self.shapes["input_ids"]
        _, whole = self.shapes["attention_mask"]
        sizes = {
            "batch_size": batch,
            "sequence_length": new,
            "total_sequence_length": whole,
        }
        (port,) = [p for p in self.program.main.outputs if p.name == name]
        return tuple(s if isinstance(s, int) else sizes[s] for s in port.shape)

    def execute_async_v3(self, stream: int) -> bool:
        feeds = {port.name: self._read(port) for port in self.program.main.inputs}
        for name, tensor in execute(self.program, feeds).items():
            tensor = tensor.contiguous()
            ctypes.memmove(self.addresses[name], tensor.data_ptr(), tensor.nbytes)
        return True

    def _read(self, port: Port) -> torch.Tensor:
        tensor = torch.empty(self.shapes[port.name], dtype=port.dtype)
        ctypes.memmove(tensor.data_ptr(), self.addresses[port.name], tensor.nbytes)
        return tensor


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[ProgramContext]:
    """Put a program behind every engine; gives the contexts that are made."""
    program = small_program()
    made: list[ProgramContext] = []

    def create_execution_context() -> ProgramContext:
        made.append(ProgramContext(program))
        return made[-1]

    manifest = SimpleNamespace(
        library="tensorrt",
        profiles=PROFILES,
        inputs=tuple(map(_spec, program.main.inputs)),
        outputs=tuple(map(_spec, program.main.outputs)),
    )
    loaded = SimpleNamespace(
        manifest=manifest,
        engine=SimpleNamespace(create_execution_context=create_execution_context),
    )
    stream = SimpleNamespace(cuda_stream=1)
    monkeypatch.setattr(runner_module, "load_engine", lambda path: loaded)
    monkeypatch.setattr(runner_module, "_DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    return made


def _spec(port: Port) -> TensorSpec:
    return TensorSpec(port.name, str(port.dtype).removeprefix("torch."), port.shape)


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
