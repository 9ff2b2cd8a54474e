"""A program in the place of an engine, on the CPU, so that a runner's bookkeeping can be tested."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prunec.backends.tensorrt import Profile
from prunec.backends.tensorrt import runner as runner_module
from prunec.backends.tensorrt.manifest import TensorSpec
from prunec.passes.ir import Entry, Port, Program, execute


class ProgramContext:
    """An execution context that runs a program on the memory at the given addresses."""

    def __init__(self, program: Program, entry: Entry) -> None:
        self.program = program
        self.entry = entry
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
        (port,) = [p for p in self.entry.outputs if p.name == name]
        return tuple(s if isinstance(s, int) else sizes[s] for s in port.shape)

    def execute_async_v3(self, stream: int) -> bool:
        feeds = {port.name: self._read(port) for port in self.entry.inputs}
        for name, tensor in execute(self.program, feeds, self.entry).items():
            tensor = tensor.contiguous()
            ctypes.memmove(self.addresses[name], tensor.data_ptr(), tensor.nbytes)
        return True

    def _read(self, port: Port) -> torch.Tensor:
        tensor = torch.empty(self.shapes[port.name], dtype=port.dtype)
        ctypes.memmove(tensor.data_ptr(), self.addresses[port.name], tensor.nbytes)
        return tensor


def loaded_program(
    program: Program, entry: Entry, profiles: Sequence[Profile], made: list[ProgramContext]
) -> Any:
    """What `load_engine` would give; every context that is made is put into a list."""

    def create_execution_context() -> ProgramContext:
        made.append(ProgramContext(program, entry))
        return made[-1]

    manifest = SimpleNamespace(
        library="tensorrt",
        profiles=profiles,
        inputs=tuple(map(_spec, entry.inputs)),
        outputs=tuple(map(_spec, entry.outputs)),
    )
    engine = SimpleNamespace(create_execution_context=create_execution_context)
    return SimpleNamespace(manifest=manifest, engine=engine)


def run_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the runner's streams and buffers be the CPU's."""
    stream = SimpleNamespace(cuda_stream=1)
    monkeypatch.setattr(runner_module, "_DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)


def _spec(port: Port) -> TensorSpec:
    return TensorSpec(port.name, str(port.dtype).removeprefix("torch."), port.shape)
