"""Programs whose layers differ in the sizes that a cut can change."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir import Program, cast
from prunec.passes.surgery import cut_program
from support.models import small_program

_CUTS = (("kv-group", 0, 2), ("ffn-channel", 1, 50))


@cache
def uneven_program(dtype: torch.dtype = torch.float32) -> Program:
    """`small_program` with fewer KV groups in its first layer, FFN channels in its second."""
    return _cut(_CUTS, dtype)


@cache
def narrow_value_program(dtype: torch.dtype = torch.float32) -> Program:
    """`uneven_program` whose second layer has values of 11 dimensions beside keys of 16."""
    return _cut((*_CUTS, ("vo-dim", 1, 11)), dtype)


def _cut(cuts: tuple[tuple[str, int, int], ...], dtype: torch.dtype) -> Program:
    program = small_program(torch.float64)
    coupling = find_structures(program)
    selection = {
        coupling.of_kind(kind)[layer].atom: np.arange(count) + 1 for kind, layer, count in cuts
    }
    return cast(cut_program(program, coupling, selection), dtype)
