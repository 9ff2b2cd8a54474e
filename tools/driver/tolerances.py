"""How far two runs of one model may differ."""

from __future__ import annotations

import torch

from prunec.passes.ir import Program, model_dtype

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Of the largest number. Sums in float32 differ by their order alone; seen: 1e-5 to 1e-4."""
_REDUCED_TOLERANCE = 0.1
"""bfloat16 has 8 bits and errors add up over the layers."""


class ViolationError(Exception):
    """A law does not hold."""


def difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    return float((expected - found).abs().max() / expected.abs().max())


def judge(worst: float, program: Program, what: str, cases: int) -> str:
    """What to say of the largest difference over some cases.

    Args:
        worst: As `difference` gives it.
        program: What was run; its precision sets the limit.
        what: Which numbers differ.
        cases: How many cases there were.

    Raises:
        ViolationError: it is too large.
    """
    tolerance = _TOLERANCE.get(model_dtype(program), _REDUCED_TOLERANCE)
    if not worst <= tolerance:  # also where it is not a number
        raise ViolationError(f"{what} differ by {worst:.1e} of the largest, limit {tolerance:g}")
    return f"{cases} cases, {what} within {worst:.1e} of the largest"
