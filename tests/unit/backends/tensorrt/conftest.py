import sys
from pathlib import Path

import pytest

from support.fake_tensorrt import ComputeCapability, FakeTensorRT, set_gpu
from support.step_onnx import write_step


@pytest.fixture
def step_onnx(tmp_path: Path) -> Path:
    return write_step(tmp_path / "model.onnx")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """The ``tensorrt`` package, 11.4, on a machine with an Ada GPU."""
    module = FakeTensorRT("11.4.0")
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    set_gpu(monkeypatch, (8, 9))
    return module


@pytest.fixture
def fake_rtx(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """The ``tensorrt_rtx`` package, 1.7, on a machine without a GPU."""
    module = FakeTensorRT("1.7.1")
    module.ComputeCapability = ComputeCapability
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    set_gpu(monkeypatch, None)
    return module
