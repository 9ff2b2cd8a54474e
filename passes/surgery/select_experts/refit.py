"""Solve the chosen columns again at the end of the prompt: ridge least squares inside the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from prunec.passes.surgery.select_experts.known import Known
from prunec.passes.surgery.select_experts.summing import SummingSite

aten = torch.ops.aten
_TINY = 1e-20
"""Below the energy of any input that is ever active: keeps silent ones from dividing by zero."""


@dataclass(frozen=True)
class RefitOnPrompt:
    """Makes the chosen columns return what the whole matrix does, as well as they can.

    With A the second moments of the inputs (a mixture of the calibration text's and the
    prompt's), K the chosen units, W the whole matrix and V its chosen columns, the new columns
    are X = (A_KK + R)⁻¹ (A_K· Wᵀ + R Vᵀ), R = `ridge` times the diagonal of A_KK: the ridge pulls
    towards the columns as they were. Solved in float32 with the diagonal scaled to one.

    Attributes:
        known: Of every matrix, by the weight's name.
        share: Of the prompt in A, 0 to 1; the prompt is not looked at where 0.
        ridge: As above.

    Source: the least-squares core of OSSCAR (2403.12983), for units chosen by a prompt; ours.
    """

    known: Mapping[str, Known]
    share: float
    ridge: float

    def __call__(self, site: SummingSite) -> torch.Tensor:
        """The repaired matrix: [out, in] or [batch, out, in], as it was gathered."""
        moments, products = self._kept(site)
        identity = site.identity()
        energy = _diagonal(moments, identity)  # [..., k]
        scale = aten.unsqueeze.default(aten.rsqrt.default(energy), -1)  # [..., k, 1]
        across = aten.transpose.int(scale, -1, -2)
        matrix = aten.mul.Tensor(aten.mul.Tensor(moments, scale), across)
        matrix = aten.add.Tensor(matrix, aten.mul.Tensor(identity, self.ridge))
        strength = aten.mul.Tensor(aten.unsqueeze.default(energy, -1), self.ridge)
        pull = aten.mul.Tensor(site.before(), strength)
        right = aten.mul.Tensor(aten.add.Tensor(products, pull), scale)
        factor = aten.linalg_cholesky.default(matrix)
        solved = aten.mul.Tensor(aten.cholesky_solve.default(right, factor), scale)
        turned = aten.transpose.int(solved, -1, -2)
        return aten.to.other(turned, site.gathered)  # whichever precision the weights have by then

    def _kept(self, site: SummingSite) -> tuple[torch.Tensor, torch.Tensor]:
        """A_KK, [..., k, k], and A_K· Wᵀ, [..., k, out]."""
        moments, products = self.known[site.part.weight].kept(site)
        if not self.share:
            return moments, products
        moments = aten.mul.Tensor(moments, 1 - self.share)
        products = aten.mul.Tensor(products, 1 - self.share)
        weights = aten.unsqueeze.default(self._token_weights(site), -1)  # [batch, token, 1]
        for given, returned in zip(site.activations, site.returned, strict=True):
            x = aten.mul.Tensor(site.columns(_wide(given), site.tokens), weights)
            y = aten.mul.Tensor(_wide(returned), weights)
            if not site.per_sequence:  # all tokens of the batch in a row
                x = aten.reshape.default(x, [-1, site.width])
                y = aten.flatten.using_ints(y, 0, 1)
            turned = aten.transpose.int(x, -1, -2)
            moments = aten.add.Tensor(moments, aten.matmul.default(turned, x))
            products = aten.add.Tensor(products, aten.matmul.default(turned, y))
        return moments, products

    def _token_weights(self, site: SummingSite) -> torch.Tensor:
        """The root of each token's weight in A: [batch, token]."""
        if site.per_sequence:
            count = aten.sum.dim_IntList(site.real, [1], True)
        else:
            count = aten.sum.default(site.real)
        share = self.share / len(site.activations)
        each = aten.mul.Tensor(aten.reciprocal.default(aten.clamp_min.default(count, 1)), share)
        return aten.mul.Tensor(site.real, aten.sqrt.default(each))


def _wide(value: torch.Tensor) -> torch.Tensor:
    return aten._to_copy.default(value, dtype=torch.float32)


def _diagonal(square: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
    """The diagonal of [..., size, size], never zero: [..., size]."""
    inside = aten.mul.Tensor(square, identity)
    return aten.clamp_min.default(aten.sum.dim_IntList(inside, [-1]), _TINY)
