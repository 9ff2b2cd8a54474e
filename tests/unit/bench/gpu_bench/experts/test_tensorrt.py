from pathlib import Path
from typing import Any

import pytest
import torch

from prunec.backends.onnx import FOR_TENSORRT
from prunec.backends.tensorrt import EngineOptions
from prunec.passes.ir import DECODE, PREFILL, Program, language_feeds
from prunec.passes.ir.run import execute
from support.gpu_cases import case, check_speed, part


class StubRunner:
    """What a TensorRT runner does, by PyTorch on the CPU."""

    def __init__(self, program: Program, phase: str) -> None:
        self._program = program
        self._entry = program.entries.get(phase) or program.main

    def zero_cache(self, batch: int) -> dict[str, torch.Tensor]:
        return part("calls").random_cache(self._entry, batch, 0, "cpu")

    def feeds(self, tokens: torch.Tensor, mask: torch.Tensor, cache: Any) -> Any:
        return language_feeds(self._entry, tokens, mask, cache)

    def run(self, feeds: Any) -> dict[str, torch.Tensor]:
        return execute(self._program, feeds, self._entry)


def test_engines_are_built_for_their_phases_checked_and_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tested = part("experts.tensorrt")
    programs: dict[Path, Program] = {}
    profiles: dict[str, tuple[str, ...]] = {}

    def export_side(program: Program, folder: Path, rewrites: Any) -> dict[str, Path]:
        assert rewrites == FOR_TENSORRT
        folder.mkdir(parents=True)
        files = {phase: folder / f"{phase}.onnx" for phase in program.entries}
        files = files if PREFILL in files else dict.fromkeys((PREFILL, DECODE), files["main"])
        for file in files.values():
            programs[folder.parent / f"{file.stem}.engine"] = program
        return files

    def build_engine(onnx: Path, engine: Path, options: EngineOptions) -> None:
        assert onnx.parent.is_dir()
        profiles[onnx.stem] = tuple(profile.name for profile in options.profiles)

    monkeypatch.setattr(tested, "_DEVICE", "cpu")
    monkeypatch.setattr(tested, "require_buildable", lambda options: None)
    monkeypatch.setattr(tested, "export_side", export_side)
    monkeypatch.setattr(tested, "build_engine", build_engine)
    monkeypatch.setattr(tested, "TensorRTRunner", lambda p: StubRunner(programs[p], p.stem))
    found = tested.measure(case(), tmp_path, "tensorrt")
    assert profiles == {
        "main": ("prefill", "decode"),
        "prefill": ("prefill",),
        "decode": ("decode",),
    }
    assert all(check["holds"] for check in found["parity"].values())
    check_speed(found)
    assert not list(tmp_path.rglob("onnx"))


def test_engines_of_both_sides_are_built_without_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    subject = case()
    for side, program in subject.sides(torch.bfloat16, "cpu").items():
        engines = part("experts.tensorrt").build_side(
            program, tmp_path / side, "tensorrt_rtx", subject.lengths
        )
        assert all(engine.stat().st_size > 10_000 for engine in engines.values())
        assert len(set(engines.values())) == (1 if side == "dense" else 2)
