from pathlib import Path

import pytest

from prunec.backends.tensorrt import (
    EngineError,
    EngineOptions,
    build_engine,
    load_engine,
    manifest_path,
)
from support.fake_tensorrt import FakeTensorRT, set_gpu


@pytest.fixture
def engine(fake: FakeTensorRT, step_onnx: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    build_engine(step_onnx, path, EngineOptions("tensorrt"))
    return path


def test_an_engine_loads_where_it_was_built(engine: Path) -> None:
    loaded = load_engine(engine)
    assert loaded.engine == b"engine of 11.4.0"
    assert loaded.manifest.library == "tensorrt"


def test_another_version_is_refused(engine: Path, fake: FakeTensorRT) -> None:
    fake.__version__ = "11.5.0"
    with pytest.raises(EngineError, match=r"built by tensorrt 11.4.0 and 11.5.0 is installed"):
        load_engine(engine)


def test_a_version_compatible_engine_loads_in_a_later_version(
    step_onnx: Path, fake: FakeTensorRT, tmp_path: Path
) -> None:
    path = tmp_path / "model.engine"
    build_engine(step_onnx, path, EngineOptions("tensorrt", version_compatible=True))
    fake.__version__ = "11.10.0"
    assert load_engine(path).manifest.library_version == "11.4.0"
    assert fake.host_code_allowed
    fake.__version__ = "11.3.0"
    with pytest.raises(EngineError, match=r"11.3.0 is installed"):
        load_engine(path)


def test_another_gpu_or_none_is_refused(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_gpu(monkeypatch, (9, 0))
    with pytest.raises(EngineError, match=r"this GPU has compute capability 9\.0"):
        load_engine(engine)
    set_gpu(monkeypatch, None)
    with pytest.raises(EngineError, match=r"no NVIDIA GPU here. This engine runs on .*8\.9"):
        load_engine(engine)


def test_a_hardware_compatible_engine_loads_from_ampere_on(
    step_onnx: Path, fake: FakeTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.engine"
    build_engine(step_onnx, path, EngineOptions("tensorrt", hardware_compatible=True))
    set_gpu(monkeypatch, (12, 0))
    assert load_engine(path).manifest.targets == ()
    set_gpu(monkeypatch, (7, 5))
    with pytest.raises(EngineError, match=r"capability 7\.5. This engine runs on .*8\.0 and later"):
        load_engine(path)


def test_missing_files_are_named(engine: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"other.engine does not exist"):
        load_engine(tmp_path / "other.engine")
    manifest_path(engine).unlink()
    with pytest.raises(EngineError, match=r"model.engine.json does not exist"):
        load_engine(engine)


@pytest.mark.parametrize("damage", ["{", "[]", '{"library": "tensorrt"}'])
def test_a_damaged_manifest_is_refused(engine: Path, damage: str) -> None:
    manifest_path(engine).write_text(damage)
    with pytest.raises(EngineError, match="no manifest of an engine"):
        load_engine(engine)


def test_a_changed_engine_is_refused(engine: Path) -> None:
    engine.write_bytes(b"engine of something else")
    with pytest.raises(EngineError, match="not the file that its manifest describes"):
        load_engine(engine)


def test_what_the_library_cannot_load_is_quoted(
    engine: Path, fake: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"not an engine")
    with pytest.raises(EngineError, match="magic tag does not match"):
        load_engine(engine)
