import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from prunec.backends.torch import TorchRunner
from support.gpu_cases import module, part
from support.models import small_program

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench"
_LIBRARIES = ["onnxruntime", "tensorrt", "tensorrt_rtx"]
SECTIONS = ["torch_parity", "torch_latency", *_LIBRARIES]
SECTIONS += [f"experts_{name}" for name in ("parity", "torch", *_LIBRARIES)]


def run_script(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "gpu.py"), "--out", str(out), "--shape", "tiny"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


@pytest.fixture
def gpu_parity() -> ModuleType:
    return part("parity")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_every_section_is_skipped_with_its_reason(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    done = run_script(out, "--allow-no-gpu")
    assert done.returncode == 0, done.stderr
    assert "no NVIDIA GPU" in done.stdout
    results = json.loads(out.read_text())
    assert [results[name]["skipped"] for name in SECTIONS] == [
        "no NVIDIA GPU that PyTorch can use"
    ] * len(SECTIONS)
    assert results["machine"]["device"] is None
    assert results["machine"]["versions"]["torch"] == torch.__version__
    assert run_script(out).returncode == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_torch_holds_its_parity(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    done = run_script(out, "--only", "torch_parity", "torch_latency", "--prompt-tokens", "32")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(out.read_text())
    assert results["torch_parity"]["pruned"]["float32_against_cpu"]["holds"]
    assert results["torch_latency"]["decode"]["eager"]["ratio"] > 0


def test_cached_steps_and_one_pass_are_compared(gpu_parity: ModuleType) -> None:
    runner = TorchRunner(small_program())
    whole, cached = gpu_parity.walk_whole(runner), gpu_parity.walk_cached(runner)
    assert whole.shape == (3 * 13 - 4 - 8, 128)
    found = gpu_parity.compare(cached, whole, 1e-4)
    assert found["holds"]
    assert found["top1_agreement"] == 1.0


def test_a_wrong_or_undefined_answer_does_not_hold(gpu_parity: ModuleType) -> None:
    expected = torch.randn(4, 8)
    assert not gpu_parity.compare(expected + 1, expected, 0.1)["holds"]
    assert not gpu_parity.compare(expected * torch.nan, expected, 0.1)["holds"]


def run_main(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> dict[str, Any]:
    """What `gpu.py` writes where it takes the machine for one with a GPU."""
    monkeypatch.setattr(module("shared.machine"), "describe", lambda checkout: {"device": {}})
    assert module("gpu").main(["--out", str(out), *options]) == 0
    return json.loads(out.read_text())


def test_a_large_shape_is_left_to_the_sections_on_experts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    found = run_main(monkeypatch, out, "--shape", "gemma-7b", "--only", "programs")
    assert "run it with --only experts" in found["programs"]["skipped"]
    assert found["torch_parity"] == {"skipped": "the programs could not be made"}
    assert "experts" not in found


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_sections_run_behind_their_subject(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    only = ["--only", "experts_tensorrt_rtx", "experts_tensorrt", "--max-onnx-gib", "0"]
    found = run_main(monkeypatch, out, "--shape", "tiny", *only)
    assert list(found)[-3:] == ["experts", "experts_tensorrt", "experts_tensorrt_rtx"]
    assert found["experts"]["case"]["shape"] == "tiny"
    assert "skipped" in found["experts_tensorrt"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_the_prompt_chooses_the_same_units(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    command = [sys.executable, str(BENCH / "gpu.py"), "--out", str(out), "--shape", "tiny"]
    command += ["--only", "experts", "--experts-prompt-tokens", "24"]
    command += ["--experts-new-tokens", "4", "12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["experts_parity"]["indices"]["tiny"]["holds"]
    assert found["experts_torch"]["cuda_graph"]["generations"][1]["speedup"] > 0
    assert found["experts_torch"]["peak_bytes"]["chosen"]["decode"] > 0
