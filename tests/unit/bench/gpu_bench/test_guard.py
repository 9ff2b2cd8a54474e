from typing import Any

import torch

from support.gpu_cases import part


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
