"""Chosen experts against the dense model in ONNX Runtime, all tensors on the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from gpu_bench.calls import random_cache, random_prompt
from gpu_bench.experts.case import ExpertsCase, Lengths
from gpu_bench.experts.files import Files, export_side
from gpu_bench.experts.parity import each_parity, tiny_program
from gpu_bench.experts.speed import Side, Values, held_bytes, measure_speed
from gpu_bench.guard import SkippedError
from gpu_bench.memory import out_of_memory_skips, require_disk, require_memory
from gpu_bench.timing import time_in_turn
from prunec.backends.ort import ExpertsOrtRunner, fold_cache
from prunec.passes.analysis.cost import decoding_entry
from prunec.passes.ir import DECODE, PREFILL, Entry, Program, Role, language_feeds

# ONNX Runtime multiplies float32 as TF32 on the GPU, which has the 10 bits of a float16, and there
# a unit next to the threshold may change places with its neighbour.
TF32 = 0.05


@torch.no_grad()
def measure(case: ExpertsCase, folder: Path, device: str) -> dict[str, Any]:
    """Export both sides in float16 as a job writes them, and time them through I/O bindings.

    Args:
        case: What to run.
        folder: Where the files are written.
        device: ``cuda`` or ``cpu``.

    Raises:
        SkippedError: ONNX Runtime cannot use the device, or there is no room.
    """
    _require_provider(device)
    require_disk(2 * case.file_bytes, case.max_onnx_gib, folder)
    require_memory(case.open_bytes)
    programs = case.sides(torch.float16, device, "cpu")
    parity = dict(each_parity(partial(_tiny_runner, folder, device), TF32))
    results: dict[str, Any] = {"parity": parity, "dtype": "float16", "held_bytes": {}}
    sides: dict[str, Side] = {}
    with out_of_memory_skips():
        for name, program in programs.items():
            files = export_side(program, folder / name, (fold_cache,))
            open_side = partial(OrtSide, program, files, case.lengths, device)
            sides[name], results["held_bytes"][name] = held_bytes(open_side, case)
        return results | measure_speed(sides, case, time_in_turn)


def _tiny_runner(folder: Path, device: str, shape: str) -> ExpertsOrtRunner:
    files = export_side(tiny_program(shape), folder / f"parity-{shape}", (fold_cache,))
    return ExpertsOrtRunner(files[PREFILL].parent, [_provider(device)])


class OrtSide:
    """The files of one program in ONNX Runtime. See `gpu_bench.experts.speed.Side`.

    Args:
        program: Says what inputs and outputs mean.
        files: Of prefill and decode; one session where they are one.
        lengths: What is run.
        device: ``cuda`` or ``cpu``.
    """

    def __init__(self, program: Program, files: Files, lengths: Lengths, device: str) -> None:
        sessions = {path: _open_session(path, device) for path in set(files.values())}
        self._decode = decoding_entry(program)
        self._prefill = program.entries.get(PREFILL) or self._decode
        self._sessions = {phase: sessions[path] for phase, path in files.items()}
        self._device = device
        self._lengths = lengths
        prompt = random_prompt(self._prefill, lengths.batch, lengths.prompt)
        self._token = prompt[:, :1]
        feeds = {n: self._value(t) for n, t in language_feeds(self._prefill, prompt).items()}
        self._prefill_binding = self._bind(PREFILL, self._prefill, feeds)
        self.prefill = self._call(PREFILL, self._prefill_binding)

    def read_prompt(self) -> Values:
        """What the prompt chose, on the device; nothing where it has no choice."""
        self.prefill()
        names = (port.name for port in self._prefill.outputs)
        outputs = dict(zip(names, self._prefill_binding.get_outputs(), strict=True))
        return {p.name: outputs[p.name] for p in self._decode.ports(Role.EXPERTS)[0]}

    def cache(self, past: int) -> Values:
        """Random keys and values, on the device."""
        made = random_cache(self._decode, self._lengths.batch, past, self._device)
        values = {name: self._value(tensor.cpu()) for name, tensor in made.items()}
        del made
        torch.cuda.empty_cache()  # what PyTorch holds is not to count as ONNX Runtime's
        return values

    def step(self, past: int, handed_on: Values) -> Callable[[], object]:
        """One token."""
        mask = torch.ones(self._lengths.batch, past + 1, dtype=torch.int64)
        own = {
            Role.TOKENS: self._token,
            Role.MASK: mask,
            Role.POSITIONS: torch.full_like(self._token, past),
        }
        feeds = {p.name: self._value(own[p.role]) for p in self._decode.inputs if p.role in own}
        return self._call(DECODE, self._bind(DECODE, self._decode, {**feeds, **handed_on}))

    def _bind(self, phase: str, entry: Entry, feeds: Values) -> Any:
        binding = self._sessions[phase].io_binding()
        for port in entry.inputs:
            binding.bind_ortvalue_input(port.name, feeds[port.name])
        for port in entry.outputs:
            binding.bind_output(port.name, self._device)
        return binding

    def _call(self, phase: str, binding: Any) -> Callable[[], object]:
        return partial(self._sessions[phase].run_with_iobinding, binding)

    def _value(self, tensor: torch.Tensor) -> Any:
        array = tensor.contiguous().numpy()
        return onnxruntime.OrtValue.ortvalue_from_numpy(array, self._device)


def _provider(device: str) -> str:
    return f"{device.upper()}ExecutionProvider"


def _require_provider(device: str) -> None:
    wanted = _provider(device)
    there = onnxruntime.get_available_providers()
    if wanted not in there:
        raise SkippedError(
            f"ONNX Runtime {onnxruntime.__version__} was built without {wanted}; it has {there}"
        )


def _open_session(path: Path, device: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings tell of nodes that it leaves on the CPU on purpose
    providers: list[Any] = ["CPUExecutionProvider"]
    if device == "cuda":
        # By default the arena doubles, which a model of half the memory does not survive.
        arena = {"arena_extend_strategy": "kSameAsRequested"}
        providers.insert(0, ("CUDAExecutionProvider", arena))
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    if session.get_providers()[0] != _provider(device):
        raise SkippedError(f"the CUDA provider does not load: {session.get_providers()} took over")
    return session
