"""The matrix with which decode sums the chosen units, where prefill makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from prunec.passes.surgery.select_experts.choice import Constant
from prunec.passes.surgery.select_experts.groups import Part

aten = torch.ops.aten


@dataclass(frozen=True)
class SummingSite:
    """All that is known where such a matrix is made; tensors may be proxies of a graph.

    Attributes:
        part: The matrix.
        activations: What its contractions multiply with it: [batch, token, in] each.
        returned: What they return without a bias: [batch, token, out] each.
        real: [batch, token], float32: 1 for tokens that count.
        tokens: How many tokens a row has.
        positions: The inputs that stay: [width] or, for each row its own, [batch, width].
        width: How many inputs stay.
        per_sequence: Whether each row has its own.
        gathered: [out, width] or [batch, out, width]: what stays of it, unrepaired.
        constant: Makes a tensor one that the graph reads, under a name for people.
    """

    part: Part
    activations: tuple[torch.Tensor, ...]
    returned: tuple[torch.Tensor, ...]
    real: torch.Tensor
    tokens: Any
    positions: torch.Tensor
    width: int
    per_sequence: bool
    gathered: torch.Tensor
    constant: Constant

    def rows(self, matrix: torch.Tensor) -> torch.Tensor:
        """The rows that stay of [in, n]: [width, n] or [batch, width, n]."""
        flat = aten.reshape.default(self.positions, [-1])
        found = aten.index_select.default(matrix, 0, flat)
        return aten.unflatten.int(found, 0, [-1, self.width]) if self.per_sequence else found

    def columns(self, value: torch.Tensor, rows: Any) -> torch.Tensor:
        """The columns that stay of [..., rows, in]: [..., rows, width]."""
        if not self.per_sequence:
            return aten.index_select.default(value, -1, self.positions)
        index = aten.expand.default(aten.unsqueeze.default(self.positions, 1), [-1, rows, -1])
        return aten.gather.default(value, -1, index)

    def before(self) -> torch.Tensor:
        """`gathered` as [..., width, out], float32."""
        turned = aten.transpose.int(self.gathered, -1, -2)
        return aten._to_copy.default(turned, dtype=torch.float32)

    def identity(self) -> torch.Tensor:
        """[width, width], float32."""
        places = self.constant("places", torch.arange(self.width))
        found = aten.eq.Tensor(aten.unsqueeze.default(places, 0), aten.unsqueeze.default(places, 1))
        return aten._to_copy.default(found, dtype=torch.float32)


Summing = Callable[[SummingSite], torch.Tensor]
"""Makes the matrix in the layout of `gathered`."""


def as_gathered(site: SummingSite) -> torch.Tensor:
    """Leave the matrix as it was gathered: the method without repair."""
    return site.gathered
