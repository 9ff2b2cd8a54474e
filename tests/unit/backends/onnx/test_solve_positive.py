from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import onnxruntime
import pytest
import torch

from prunec.backends.onnx.solve_positive import SOLVE, translate_solve

ACCURACY = 1e-3  # float32 at a condition of ten thousand: Cholesky itself reaches 5e-5 to 5e-4


class Solve(torch.nn.Module):
    def forward(self, right: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        return SOLVE(right, matrix)


def problem(batch: tuple[int, ...], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Second moments of correlated inputs with very different scales, scaled, under a ridge."""
    generator = torch.Generator().manual_seed(size)
    spread = torch.logspace(0, -3, size)[:, None] * torch.randn(size, size, generator=generator)
    x = torch.randn(*batch, 3 * size, size, generator=generator) @ spread
    moments = x.mT @ x
    scale = moments.diagonal(dim1=-2, dim2=-1).rsqrt()
    matrix = moments * scale[..., None] * scale[..., None, :] + 0.001 * torch.eye(size)
    return torch.randn(*batch, size, 7, generator=generator), matrix


@pytest.mark.filterwarnings("ignore::FutureWarning")  # inside the exporter
@pytest.mark.parametrize(("batch", "size"), [((), 200), ((), 134), ((), 61), ((), 1), ((2,), 96)])
def test_blocks_of_any_width_give_the_solution(
    batch: tuple[int, ...], size: int, tmp_path: Path
) -> None:
    right, matrix = problem(batch, size)
    exported = torch.onnx.export(
        torch.export.export(Solve(), (right, matrix)),
        dynamo=True,
        optimize=False,
        verbose=False,
        custom_translation_table={SOLVE: translate_solve},
    )
    ir.save(exported.model, tmp_path / "solve.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "solve.onnx")
    (found,) = session.run(None, {"right": right.numpy(), "matrix": matrix.numpy()})
    expected = torch.linalg.solve(matrix.double(), right.double())
    error = (torch.from_numpy(found).double() - expected).norm() / expected.norm()
    assert float(error) < ACCURACY
