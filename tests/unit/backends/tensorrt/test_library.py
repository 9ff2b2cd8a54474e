import importlib.util
import sys

import pytest

from prunec.backends.tensorrt import EngineError, require_library
from support.fake_tensorrt import FakeTensorRT, set_gpu


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    set_gpu(monkeypatch, None)


def test_an_unknown_library_is_refused_with_the_known_names() -> None:
    with pytest.raises(EngineError, match="'tensorrt_rtx', 'tensorrt', 'auto'"):
        require_library("tensorrt_llm")


def test_a_missing_library_is_refused_with_what_to_install(nothing_installed: None) -> None:
    with pytest.raises(EngineError, match=r"tensorrt_rtx: not installed. .*'prunec\[rtx\]'"):
        require_library("tensorrt_rtx")
    with pytest.raises(EngineError, match=r"'prunec\[rtx\]' or .*'prunec\[tensorrt\]'"):
        require_library("auto")


def test_a_broken_installation_is_refused_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(EngineError, match=r"cannot be imported: libnvinfer.so.11"):
        require_library("tensorrt")


def test_auto_prefers_the_library_that_builds_here(
    monkeypatch: pytest.MonkeyPatch, fake: FakeTensorRT
) -> None:
    rtx = FakeTensorRT("1.7.1")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", rtx)
    assert require_library("auto").name == "tensorrt"
    set_gpu(monkeypatch, None)
    assert require_library("auto").name == "tensorrt_rtx"
    assert require_library("tensorrt").version == "11.4.0"
