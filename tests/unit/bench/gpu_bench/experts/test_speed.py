from pathlib import Path

import pytest

from support.gpu_cases import case, check_speed, module, part


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


def test_too_large_an_export_is_skipped_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(part("guard").SkippedError, match="--max-onnx-gib is 1e-06"):
        part("experts.onnxruntime").measure(case(max_onnx_gib=1e-6), tmp_path, "cpu")
    assert not list(tmp_path.iterdir())
