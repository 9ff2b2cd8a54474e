"""Chosen experts against the dense model as engines, all tensors on the GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu_bench.calls import Tensors, random_cache, random_prompt
from gpu_bench.experts.case import ExpertsCase, Lengths
from gpu_bench.experts.files import Files, export_side
from gpu_bench.experts.parity import LENGTHS as PARITY_LENGTHS
from gpu_bench.experts.parity import PARITY_SHAPES, tiny_program
from gpu_bench.experts.speed import Side, held_bytes, measure_speed
from gpu_bench.guard import SkippedError
from gpu_bench.memory import out_of_memory_skips, require_disk, require_memory
from gpu_bench.parity import BFLOAT16, compare
from gpu_bench.timing import own_stream, time_in_turn
from prunec.backends.onnx import FOR_TENSORRT
from prunec.backends.tensorrt import (
    EngineError,
    EngineOptions,
    TensorRTRunner,
    build_engine,
    language_profiles,
    require_buildable,
)
from prunec.backends.torch import ExpertsRunner
from prunec.passes.analysis.cost import decoding_entry
from prunec.passes.ir import DECODE, PREFILL, Entry, Program, Role, cast

_DEVICE = "cuda"


@torch.no_grad()
def measure(case: ExpertsCase, folder: Path, library: str) -> dict[str, Any]:
    """Export both sides in bfloat16, build their engines, and time these.

    Args:
        case: What to run.
        folder: Where files and engines are written.
        library: ``tensorrt`` or ``tensorrt_rtx``.

    Raises:
        SkippedError: the library cannot build here, or there is no room.
    """
    try:
        require_buildable(EngineOptions(library))
    except EngineError as error:
        raise SkippedError(str(error)) from error
    # The dense engine, and the chosen side's files beside its engines: none of the dense files.
    require_disk(case.file_bytes + case.open_bytes, case.max_onnx_gib, folder)
    require_memory(case.open_bytes)
    sides: dict[str, Side] = {}
    with own_stream(_DEVICE), out_of_memory_skips():
        parity = {shape: _check(shape, folder / shape, library) for shape in PARITY_SHAPES}
        results: dict[str, Any] = {"parity": parity, "dtype": "bfloat16", "held_bytes": {}}
        for name, program in case.sides(torch.bfloat16, _DEVICE, "cpu").items():
            engines = build_side(program, folder / name, library, case.lengths)
            open_side = partial(EngineSide, program, engines, case.lengths)
            sides[name], results["held_bytes"][name] = held_bytes(open_side, case)
        return results | measure_speed(sides, case, time_in_turn)


def _check(shape: str, folder: Path, library: str) -> dict[str, Any]:
    """A prompt and one token of a tiny model, against float32 in PyTorch on the CPU."""
    wide = tiny_program(shape)
    engines = build_side(cast(wide, torch.bfloat16), folder, library, PARITY_LENGTHS)
    prefill, decode = (TensorRTRunner(engines[phase]) for phase in (PREFILL, DECODE))
    tokens = random_prompt(wide.entry(DECODE), 1, PARITY_LENGTHS.prompt + 1)
    mask = torch.ones_like(tokens)
    outputs = prefill.run(prefill.feeds(tokens[:, :-1], mask[:, :-1], prefill.zero_cache(1)))
    handed_on = {name.replace("present.", "past_key_values."): t for name, t in outputs.items()}
    last = decode.run(decode.feeds(tokens[:, -1:], mask, handed_on))
    found = torch.cat([outputs["logits"], last["logits"]], dim=1).float().cpu()
    runner = ExpertsRunner(wide)
    first, kept = runner.step(tokens[:, :-1], mask[:, :-1], None)
    expected = torch.cat([first, runner.step(tokens[:, -1:], mask, kept)[0]], dim=1)
    return compare(found, expected, BFLOAT16)


def build_side(program: Program, folder: Path, library: str, lengths: Lengths) -> Files:
    """The engine of each phase, with the profiles of the phases that it serves; no files else."""
    profiles = language_profiles(
        batch_size=lengths.batch,
        new_tokens=lengths.prompt,
        max_length=lengths.pasts[-1] + 2,
    )
    files = export_side(program, folder / "onnx", FOR_TENSORRT)
    engines: dict[str, Path] = {}
    for path in sorted(set(files.values())):
        phases = [phase for phase, file in files.items() if file == path]
        wanted = tuple(profile for profile in profiles if profile.name in phases)
        engine = folder / f"{path.stem}.engine"
        build_engine(path, engine, EngineOptions(library, profiles=wanted))
        engines |= dict.fromkeys(phases, engine)
    shutil.rmtree(folder / "onnx")
    return engines


class EngineSide:
    """The engines of one program. See `gpu_bench.experts.speed.Side`.

    Args:
        program: Says what inputs and outputs mean.
        engines: Of prefill and decode; one runner where they are one.
        lengths: What is run.
    """

    def __init__(self, program: Program, engines: Files, lengths: Lengths) -> None:
        runners = {path: TensorRTRunner(path) for path in set(engines.values())}
        self._runners = {phase: runners[path] for phase, path in engines.items()}
        self._decode: Entry = decoding_entry(program)
        self._batch = lengths.batch
        prompt = random_prompt(self._decode, self._batch, lengths.prompt).to(_DEVICE)
        self._token = prompt[:, :1]
        empty = self._runners[PREFILL].zero_cache(self._batch)
        self.prefill = self._call(PREFILL, prompt, 0, empty)

    def read_prompt(self) -> Tensors:
        """What the prompt chose; nothing where it has no choice."""
        outputs = self.prefill()
        return {p.name: outputs[p.name] for p in self._decode.ports(Role.EXPERTS)[0]}

    def cache(self, past: int) -> Tensors:
        """Random keys and values."""
        return random_cache(self._decode, self._batch, past, _DEVICE)

    def step(self, past: int, handed_on: Tensors) -> Callable[[], object]:
        """One token."""
        return self._call(DECODE, self._token, past, handed_on)

    def _call(
        self, phase: str, tokens: torch.Tensor, past: int, handed_on: Tensors
    ) -> Callable[[], Any]:
        runner = self._runners[phase]
        mask = torch.ones(len(tokens), past + tokens.shape[1], dtype=torch.int64, device=_DEVICE)
        feeds = runner.feeds(tokens, mask, dict(handed_on))
        return partial(runner.run, feeds)
