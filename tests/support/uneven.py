"""A program whose layers differ in every size that a cut can change."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir import Program, cast
from prunec.passes.surgery import cut_program
from support.models import small_program


@cache
def uneven_program(dtype: torch.dtype = torch.float32) -> Program:
    """`small_program` with fewer KV groups, FFN channels and value widths in one layer each."""
    program = small_program(torch.float64)
    coupling = find_structures(program)
    selection = {}
    for kind, layer, count in (("kv-group", 0, 2), ("ffn-channel", 1, 50), ("vo-dim", 1, 11)):
        structure = coupling.of_kind(kind)[layer]
        selection[structure.atom] = np.arange(count) + 1
    return cast(cut_program(program, coupling, selection), dtype)
