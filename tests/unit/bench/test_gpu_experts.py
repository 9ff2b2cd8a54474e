import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from prunec.backends.tensorrt import EngineOptions
from prunec.frontend.sources import find_checkpoint
from prunec.passes.analysis.cost import decode_bytes, measure
from prunec.passes.ir import DECODE, PREFILL, Program, language_feeds
from prunec.passes.ir.run import execute
from support.checkpoints import write_llama

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench"
SHORT = {
    "experts_prompt_tokens": 24,
    "experts_new_tokens": [4, 12],
    "experts_points": 3,
    "repeats": 2,
    "warmup": 1,
}


@pytest.fixture(autouse=True)
def bench_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def part(name: str) -> ModuleType:
    return module(f"gpu_bench.{name}")


def case(**changes: Any) -> Any:
    options: argparse.Namespace = module("gpu")._parse(["--out", "unused.json", "--shape", "tiny"])
    vars(options).update(SHORT | changes)
    found = part("experts.case").ExpertsCase(options)
    found.bare = tiny_sides(found.keep)
    return found


@cache
def tiny_sides(keep: float) -> Any:
    traced = part("experts.case").trace_config(part("shapes").SHAPES["tiny"].config())
    return part("experts.case").choose_experts(traced, keep)


def two_layers(shape: str) -> dict[str, Program]:
    found = part("shapes").SHAPES[shape]
    config = type(found)(found.configuration, found.options | {"num_hidden_layers": 2}).config()
    traced = part("experts.case").trace_config(config)
    return part("experts.case").choose_experts(traced, keep=0.5)


@pytest.mark.parametrize(
    ("shape", "width", "hidden", "attention", "other", "billions"),
    [
        ("gemma-7b", 24576, 3072, 4 * 3072 * 4096, 256000 * 3072, 8.54),
        ("llama-2-13b", 13824, 5120, 4 * 5120**2, 2 * 32000 * 5120, 13.02),
    ],
)
def test_the_papers_shapes_are_traced_and_chosen_from_without_a_weight(
    shape: str, width: int, hidden: int, attention: int, other: int, billions: float
) -> None:
    sides = two_layers(shape)
    layer = 3 * width * hidden + attention + 2 * hidden
    assert measure(sides["dense"]).parameters == 2 * layer + other + hidden
    layers = part("shapes").SHAPES[shape].options["num_hidden_layers"]
    assert round((layers * layer + other + hidden) / 1e9, 2) == billions
    real = [w for w in sides["chosen"].weights.values() if not isinstance(w, FakeTensor)]
    assert sum(w.numel() for w in real) < 1000
    halves = 2 * 3 * width * hidden // 2
    assert decode_bytes(sides["dense"]) - decode_bytes(sides["chosen"]) == 2 * halves


def test_weights_are_made_from_the_seed_and_shared_by_both_sides() -> None:
    fill, sides = part("weights").fill, case().bare
    made, again = fill(sides, "cpu", "cpu", seed=3), fill(sides, "cpu", "cpu", seed=3)
    other = fill(sides, "cpu", "cpu", seed=4)
    for name, weight in made["dense"].weights.items():
        assert made["chosen"].weights[name] is weight
        assert torch.equal(weight, again["dense"].weights[name])
        was_fake = isinstance(sides["dense"].weights[name], FakeTensor)
        assert torch.equal(weight, other["dense"].weights[name]) != was_fake
        assert not isinstance(weight, FakeTensor)
        assert weight.dtype == sides["dense"].weights[name].dtype


def test_bounds_are_quotients_of_what_a_step_reads() -> None:
    step_bytes = part("experts.bounds").StepBytes(dense=300, chosen=200, cache_per_token=10)
    assert step_bytes.bounds(past=9) == {
        "weights": 300 / 200,
        "weights_and_cache": 400 / 300,
        "weights_and_copied_cache": 600 / 500,
    }
    found = part("experts.bounds").reached(1.25, {"weights": 1.5})["weights"]
    assert found["share_of_bound"] == pytest.approx(1.25 / 1.5)
    assert found["share_of_saving"] == pytest.approx(0.2 / (1 / 3))


def test_the_bound_of_the_papers_larger_model_is_the_one_that_is_quoted() -> None:
    found = part("experts.bounds").paper_figures("llama-2-13b")
    assert pytest.approx(found["bound"]["weights"], abs=0.005) == 13.02 / 8.77
    for figures in (found, part("experts.bounds").paper_figures("gemma-7b")):
        long = figures["2048+2048"]
        assert long["dense_s"] / long["chosen_s"] == pytest.approx(long["speedup"], abs=0.001)
        assert long["speedup"] == pytest.approx(figures["speedup_of_abstract"], abs=0.01)
        assert "unverified" in figures["note"]
    assert part("experts.bounds").paper_figures("tiny") is None


def test_a_generation_adds_its_steps_up_along_the_past() -> None:
    bounds = part("experts.bounds")
    pasts = bounds.past_lengths(2048, 2048, 5)
    assert pasts[0] == 2048
    assert pasts[-1] == 2048 + 2048 - 2
    steps = [(past, 0.5 * past) for past in pasts]
    exact = sum(0.5 * past for past in range(2048, 2048 + 2047))
    assert bounds.generation_ms(7.0, steps, 2048, 2048) == pytest.approx(7.0 + exact)
    assert bounds.generation_ms(7.0, steps, 2048, 1) == 7.0
    with pytest.raises(ValueError, match="after 2048 to 5000 tokens are needed"):
        bounds.generation_ms(7.0, steps, 2048, 2954)
    assert bounds.past_lengths(16, 1, 5) == [16]


def test_torch_is_checked_and_timed_on_the_cpu() -> None:
    found = part("experts.parity").check_torch("cpu")
    assert module("gpu")._is_good(found)
    same = {"compared": 2, "differing": [], "holds": True}
    assert found["indices"] == {"tiny": same, "tiny-gelu": same}
    check_speed(part("experts.torch").measure(case(), "cpu")["eager"])


def test_onnx_runtime_is_checked_and_timed_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(part("experts.parity"), "PARITY_SHAPES", ("tiny-gelu",))
    found = part("experts.onnxruntime").measure(case(), tmp_path, "cpu")
    assert found["parity"]["tiny-gelu"]["relative_rms_error"] < 1e-5
    check_speed(found)


def test_the_case_is_described_with_its_bounds() -> None:
    found = json.loads(json.dumps(part("experts.sections").describe_case(case())))
    assert found["units"] == [[48, 96], [48, 96]]
    sizes = found["decode_bytes"]
    assert sizes["dense"] - sizes["chosen"] == found["gathered_bytes"]
    assert found["bounds"]["24"]["weights"] == sizes["dense"] / sizes["chosen"]


def test_another_choice_is_noticed() -> None:
    parity = part("experts.parity")
    program = parity.tiny_program("tiny")
    name = next(n for n in program.weights if n.endswith("gate_proj.weight"))
    other = program.with_weights({name: program.weights[name].roll(1, 0)})
    here, there = (parity.chosen_indices(p, "cpu") for p in (program, other))
    assert any(not torch.equal(here[port], there[port]) for port in here)


def check_speed(speed: Mapping[str, Any]) -> None:
    assert speed["prefill"]["overhead"] > -1
    assert [step["past_tokens"] for step in speed["decode"]] == [24, 29, 34]
    assert all("weights_and_cache" in step["reached"] for step in speed["decode"])
    short, long = speed["generations"]
    assert (short["new_tokens"], long["new_tokens"]) == (4, 12)
    for side in ("dense", "chosen"):
        assert long[f"{side}_s"] > short[f"{side}_s"] > speed["prefill"][side]["median_ms"] / 1000


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

    def export_side(program: Program, folder: Path) -> dict[str, Path]:
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


def test_keeping_all_units_compares_the_dense_program_with_itself() -> None:
    whole = case(experts_keep=1.0)
    found = part("experts.sections").describe_case(whole)
    assert found["units"] == []
    assert found["bounds"][24]["weights"] == 1
    check_speed(part("experts.torch").measure(whole, "cpu")["eager"])


def test_too_large_an_export_is_skipped_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(part("guard").SkippedError, match="--max-onnx-gib is 1e-06"):
        part("experts.onnxruntime").measure(case(max_onnx_gib=1e-6), tmp_path, "cpu")
    assert not list(tmp_path.iterdir())


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


def test_a_checkpoint_keeps_its_own_weights(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "model")
    subject = case(model=str(path))
    del subject.bare
    sides = subject.sides(torch.bfloat16, "cpu")
    tensors = find_checkpoint(str(path)).load_model().state_dict()
    for name, weight in sides["dense"].parameters().items():
        assert torch.equal(weight, tensors[name].bfloat16())
        assert sides["chosen"].weights[name] is weight
    assert part("experts.sections").describe_case(subject)["shape"] is None


def test_lengths_without_a_token_are_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        case(experts_new_tokens=[0])


@pytest.mark.parametrize("text", ["Failed to allocate memory for requested buffer", "OutOfMemory"])
def test_a_library_without_memory_is_skipped(text: str) -> None:
    skips = part("memory").out_of_memory_skips
    with pytest.raises(part("guard").SkippedError, match=text), skips():
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="no such operator"), skips():
        raise RuntimeError("no such operator")


def test_only_what_is_missing_or_too_large_is_skipped() -> None:
    guarded = part("guard").guarded

    def failing(error: Exception) -> Any:
        def run() -> None:
            raise error

        return guarded("part", run)

    assert "memory" in failing(torch.OutOfMemoryError("CUDA out of memory"))["skipped"]
    absent = ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt")
    assert failing(absent) == {"skipped": "not installed: tensorrt"}
    broken = ModuleNotFoundError("No module named 'prunec.absent'", name="prunec.absent")
    assert "failed" in failing(broken)
    assert failing(RuntimeError("wrong"))["failed"] == "RuntimeError: wrong"


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
