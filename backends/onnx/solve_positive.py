"""``cholesky_solve(b, cholesky(a))`` -> one operator that ONNX can loop over.

ONNX has neither. Gauss-Jordan elimination by blocks needs only products; the inverse of a pivot
block comes from Newton's iteration, which converges from any scaled identity because the block is
symmetric and positive definite. Pivots of such a matrix need no exchange of rows.

Source: Schulz 1933 for the inverse; Golub and Van Loan, Matrix Computations, section 3.2 and 4.2.
"""

from __future__ import annotations

from typing import Any

import torch
from onnxscript import FLOAT, INT64, script, values
from onnxscript import opset18 as op

from prunec.backends.onnx.draft import Draft, aten, calls, insert, replace

_WIDEST = 64  # of a block: larger ones cost more in the inverse than they save in steps


def solve_positive(draft: Draft) -> int:
    """Replace every solution by a Cholesky factor; return how many."""
    found = 0
    for node in list(draft.graph.nodes):
        if calls(node, aten.cholesky_solve.default) and len(node.args) == 2:
            right, factor = node.args
            if calls(factor, aten.linalg_cholesky.default) and len(factor.args) == 1:
                replace(node, insert(node, SOLVE, right, factor.args[0]))
                found += 1
    draft.graph.eliminate_dead_code()
    return found


@torch.library.custom_op("prunec::solve_positive", mutates_args=())
def _solve(right: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """X with matrix @ X = right: [..., n, m] for a symmetric positive definite [..., n, n]."""
    return torch.cholesky_solve(right, torch.linalg.cholesky(matrix))


@_solve.register_fake
def _(right: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(right)


SOLVE = torch.ops.prunec.solve_positive.default


def translate_solve(right: Any, matrix: Any) -> Any:
    """The operator in ONNX; the exporter calls this."""
    size = int(matrix.shape[-1])
    width = max(w for w in range(1, min(size, _WIDEST) + 1) if size % w == 0)
    steps = op.Constant(value_int=size // width)
    within = op.Constant(value_ints=list(range(width)))
    return _eliminate(right, matrix, within, steps)


# TensorRT takes no slice whose start the loop computes: its shape might differ from step to step.
@script(values.Opset("prunec", 1), default_opset=op)  # type: ignore[untyped-decorator]
def _eliminate(
    right: FLOAT[...], matrix: FLOAT[...], within: INT64[...], steps: INT64
) -> FLOAT[...]:
    columns = op.Constant(value_ints=[-1])
    rows = op.Constant(value_ints=[-2])
    size = op.Shape(matrix, start=-1)
    identity = op.EyeLike(op.ConstantOfShape(op.Concat(size, size, axis=0)))
    one = op.Gather(op.Gather(identity, within, axis=-1), within, axis=-2)
    width = op.Shape(within)
    work = op.Concat(matrix, right, axis=-1)
    for step in range(steps):
        places = within + step * width
        block = op.Gather(work, places, axis=-1)
        unit = op.Gather(identity, places, axis=-1)
        pivot = op.Gather(block, places, axis=-2)
        inverse = one / op.ReduceMax(op.ReduceSum(op.Abs(pivot), columns), rows)
        for _ in range(24):  # squares the error each time: enough for a condition of 1e5
            inverse = inverse + op.MatMul(inverse, one - op.MatMul(pivot, inverse))
        wanted = op.Gather(work, places, axis=-2)
        solved = op.MatMul(inverse, wanted)
        solved = solved + op.MatMul(inverse, wanted - op.MatMul(pivot, solved))
        work = work - op.MatMul(block - unit, solved)
    return op.Slice(work, size, op.Constant(value_ints=[9223372036854775807]), columns)
