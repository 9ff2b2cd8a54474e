"""What torch's own counter says that a run of a program costs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prunec.passes.ir import Program, execute


def counted_by_torch(program: Program, feeds: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Operations of one run, by the ATen operator that did them.

    Attention runs as the matrix products that it is made of: torch does not count the fused
    kernel of the CPU.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        execute(program, feeds)
    found = counter.get_flop_counts()["Global"]
    return {str(operator).removeprefix("aten."): count for operator, count in found.items()}
