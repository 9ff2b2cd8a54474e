from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import avg_pool1d, avg_pool2d

from prunec.passes.ir import execute
from support.sessions import exported_function, run_file

PLANE = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
POOLS = {
    "wider": (lambda x: avg_pool2d(x, 500, ceil_mode=True), 1),
    "as wide": (lambda x: avg_pool2d(x, (5, 7)), 1),
    "line": (lambda x: avg_pool1d(x[:, 0], 7), 1),
    "narrower": (lambda x: avg_pool2d(x, (5, 3)), 0),
    "padded": (lambda x: avg_pool2d(x, (5, 7), padding=(0, 1), stride=9), 0),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_window_over_the_whole_plane_is_its_mean(name: str, tmp_path: Path) -> None:
    function, count = POOLS[name]
    path = tmp_path / "model.onnx"
    program, feeds, report = exported_function(function, [PLANE], path)
    assert report.rewritten["pool_whole_planes"] == count
    found, expected = run_file(path, feeds), execute(program, feeds)
    for output, value in expected.items():
        torch.testing.assert_close(found[output], value, rtol=1e-5, atol=1e-5)
