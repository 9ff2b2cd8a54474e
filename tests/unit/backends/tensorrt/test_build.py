import json
from pathlib import Path

import pytest
from onnx import TensorProto

from prunec.backends.tensorrt import (
    EngineError,
    EngineOptions,
    build_engine,
    language_profiles,
    manifest_path,
    read_manifest,
)
from prunec.backends.tensorrt import build as build_module
from support.fake_tensorrt import (
    BuilderFlag,
    FakeTensorRT,
    HardwareCompatibilityLevel,
    MemoryPoolType,
    ParserError,
)
from support.step_onnx import write_step

SMALL = language_profiles(batch_size=2, new_tokens=16, max_length=32)


def test_engine_and_manifest_are_written(
    fake: FakeTensorRT, step_onnx: Path, tmp_path: Path
) -> None:
    engine = tmp_path / "out" / "model.engine"
    manifest = build_engine(step_onnx, engine, EngineOptions("tensorrt", profiles=SMALL))
    assert engine.read_bytes() == b"engine of 11.4.0"
    assert read_manifest(engine) == manifest
    assert manifest.precision == "bfloat16"
    assert manifest.inputs[0].shape == ("batch_size", 2, "sequence_length", 8)
    assert manifest.runs_on == "NVIDIA GPUs of compute capability 8.9, with tensorrt 11.4.0"
    assert manifest.device == "NVIDIA L4"
    assert manifest.size_bytes == engine.stat().st_size
    assert list(manifest.onnx_sha256) == ["model.onnx"]
    assert sorted(p.name for p in engine.parent.iterdir()) == ["model.engine", "model.engine.json"]


def test_the_network_is_strongly_typed_and_has_both_profiles(
    fake: FakeTensorRT, step_onnx: Path, tmp_path: Path
) -> None:
    build_engine(step_onnx, tmp_path / "e", EngineOptions("tensorrt", profiles=SMALL))
    assert fake.creation_flags == 1 << 1
    prefill, decode = fake.config.profiles
    assert prefill.shapes["past_key_values.0.key"] == ((1, 2, 0, 8), (2, 2, 0, 8), (2, 2, 0, 8))
    assert prefill.shapes["attention_mask"] == ((1, 1), (2, 8), (2, 16))
    assert decode.shapes["query"] == ((1, 2, 1, 8), (2, 2, 1, 8), (2, 2, 2, 8))
    assert decode.shapes["attention_mask"] == ((1, 2), (2, 17), (2, 33))


def test_options_reach_the_builder(fake: FakeTensorRT, step_onnx: Path, tmp_path: Path) -> None:
    options = EngineOptions(
        "tensorrt",
        profiles=SMALL,
        workspace_bytes=1 << 20,
        optimisation_level=1,
        version_compatible=True,
        hardware_compatible=True,
    )
    manifest = build_engine(step_onnx, tmp_path / "e", options)
    assert fake.config.pool_limits == {MemoryPoolType.WORKSPACE: 1 << 20}
    assert fake.config.builder_optimization_level == 1
    assert fake.config.flags == [BuilderFlag.VERSION_COMPATIBLE]
    assert fake.config.hardware_compatibility_level is HardwareCompatibilityLevel.AMPERE_PLUS
    assert manifest.runs_on.endswith("8.0 and later, with tensorrt 11.4.0 or later")


def test_the_timing_cache_is_read_and_extended(
    fake: FakeTensorRT, step_onnx: Path, tmp_path: Path
) -> None:
    options = EngineOptions("tensorrt", profiles=SMALL, timing_cache=tmp_path / "timing.cache")
    build_engine(step_onnx, tmp_path / "e", options)
    build_engine(step_onnx, tmp_path / "e", options)
    assert (tmp_path / "timing.cache").read_bytes() == b"+timed+timed"


def test_progress_ends_at_one(fake: FakeTensorRT, step_onnx: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    build_engine(
        step_onnx,
        tmp_path / "e",
        EngineOptions("tensorrt", profiles=SMALL),
        lambda phase, fraction: seen.append(fraction),
    )
    assert seen == [0.25, 0.5, 0.75, 1.0]


def test_an_interrupt_leaves_the_engine_that_was_there(
    fake: FakeTensorRT, step_onnx: Path, tmp_path: Path
) -> None:
    def interrupt(phase: str, fraction: float) -> None:
        raise KeyboardInterrupt

    engine = tmp_path / "model.engine"
    engine.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        build_engine(step_onnx, engine, EngineOptions("tensorrt", profiles=SMALL), interrupt)
    assert engine.read_bytes() == b"before"
    assert not manifest_path(engine).exists()
    assert not list(tmp_path.glob(".*"))


def test_parser_errors_name_their_nodes(
    fake: FakeTensorRT, step_onnx: Path, tmp_path: Path
) -> None:
    fake.parser_errors = [ParserError("type bfloat16 is not supported", "attend", "Attention")]
    with pytest.raises(EngineError, match=r"node attend \(Attention\): type bfloat16"):
        build_engine(step_onnx, tmp_path / "e", EngineOptions("tensorrt", profiles=SMALL))


def test_a_failed_build_quotes_the_library(
    fake: FakeTensorRT, step_onnx: Path, tmp_path: Path
) -> None:
    fake.build_error = "Could not find any implementation\n  for node attend."
    with pytest.raises(EngineError, match="find any implementation for node attend"):
        build_engine(step_onnx, tmp_path / "e", EngineOptions("tensorrt", profiles=SMALL))


def test_float32_attention_is_refused_where_no_kernel_exists(
    fake: FakeTensorRT, fake_rtx: FakeTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_step(tmp_path / "wide.onnx", TensorProto.FLOAT)
    monkeypatch.setattr(build_module, "_build", lambda *_: pytest.fail("the build began"))
    with pytest.raises(EngineError, match=r"1 Attention nodes in float32 \(the first is attend\)"):
        build_engine(model, tmp_path / "e", EngineOptions("tensorrt_rtx", profiles=SMALL))


def test_float32_attention_is_built_where_a_kernel_exists(
    fake: FakeTensorRT, tmp_path: Path
) -> None:
    model = write_step(tmp_path / "wide.onnx", TensorProto.FLOAT)
    manifest = build_engine(model, tmp_path / "e", EngineOptions("tensorrt", profiles=SMALL))
    assert manifest.precision == "float32"


def test_missing_and_damaged_onnx_files_are_refused(fake: FakeTensorRT, tmp_path: Path) -> None:
    options = EngineOptions("tensorrt", profiles=SMALL)
    with pytest.raises(EngineError, match=r"nowhere.onnx does not exist"):
        build_engine(tmp_path / "nowhere.onnx", tmp_path / "e", options)
    (tmp_path / "damaged.onnx").write_bytes(b"\xff\xff no model")
    with pytest.raises(EngineError, match="no ONNX model that can be read"):
        build_engine(tmp_path / "damaged.onnx", tmp_path / "e", options)


def test_the_manifest_is_plain_json(fake: FakeTensorRT, step_onnx: Path, tmp_path: Path) -> None:
    build_engine(step_onnx, tmp_path / "e", EngineOptions("tensorrt", profiles=SMALL))
    plain = json.loads(manifest_path(tmp_path / "e").read_text())
    assert plain["library"] == "tensorrt"
    assert plain["profiles"]["decode"]["sequence_length"] == {
        "minimum": 1,
        "optimum": 1,
        "maximum": 2,
    }
