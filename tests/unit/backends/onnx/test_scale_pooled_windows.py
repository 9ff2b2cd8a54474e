from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import avg_pool2d, avg_pool3d

from prunec.backends.onnx import OnnxError
from prunec.passes.ir import execute
from support.sessions import exported_function, run_file

GENERATOR = torch.Generator().manual_seed(0)
PLANE = torch.randn(2, 3, 6, 8, generator=GENERATOR)
SPACE = torch.randn(2, 3, 4, 6, 8, generator=GENERATOR)
POOLS = {
    "one side": (lambda x: avg_pool2d(x, 2, divisor_override=3), PLANE, 1),
    "two sides": (lambda x: avg_pool2d(x, (2, 4), divisor_override=1), PLANE, 1),
    "padded": (lambda x: avg_pool2d(x, 3, 2, 1, divisor_override=5), PLANE, 1),
    "whole plane": (lambda x: avg_pool2d(x, (6, 8), divisor_override=7), PLANE, 1),
    "in three dimensions": (lambda x: avg_pool3d(x, 2, divisor_override=3), SPACE, 1),
    "without a divisor": (lambda x: avg_pool2d(x, 3, 2, 1, count_include_pad=False), PLANE, 0),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_divisor_is_that_of_the_program(name: str, tmp_path: Path) -> None:
    function, value, count = POOLS[name]
    path = tmp_path / "model.onnx"
    program, feeds, report = exported_function(function, [value], path)
    assert report.rewritten["scale_pooled_windows"] == count
    found, expected = run_file(path, feeds), execute(program, feeds)
    for output, wanted in expected.items():
        torch.testing.assert_close(found[output], wanted, rtol=1e-5, atol=1e-5)


def test_a_divisor_of_windows_that_are_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="ceil_mode"):
        exported_function(
            lambda x: avg_pool2d(x, 4, ceil_mode=True, divisor_override=3),
            [PLANE],
            tmp_path / "model.onnx",
        )
