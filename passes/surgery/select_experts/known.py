"""What calibration text tells of a matrix that sums over units, as constants of a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prunec.passes.analysis.importance.consumers import in_order
from prunec.passes.analysis.statistics import stream_moments
from prunec.passes.contract import Context
from prunec.passes.ir import Program
from prunec.passes.surgery.select_experts.groups import Group
from prunec.passes.surgery.select_experts.summing import SummingSite

aten = torch.ops.aten


class Known(ABC):
    """The mean products of a matrix's inputs with each other and with its outputs."""

    @abstractmethod
    def kept(self, site: SummingSite) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of the chosen inputs: [..., width, width] and [..., width, out], float32."""


@dataclass(frozen=True)
class Whole(Known):
    """All of them: as much memory as the weight and a square of its inputs.

    Attributes:
        moments: [in, in], float32.
        products: [in, out], float32.
    """

    moments: torch.Tensor
    products: torch.Tensor

    def kept(self, site: SummingSite) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Known.kept`."""
        rows = site.rows(site.constant("moments", self.moments))
        products = site.rows(site.constant("products", self.products))
        return site.columns(rows, site.width), products


@dataclass(frozen=True)
class LowRank(Known):
    """Those along the strongest directions; across the others inputs count as independent.

    moments = factor factorᵀ + diag(rest), with the diagonal exact.

    Attributes:
        factor: [in, rank], float32.
        returned: What the matrix makes of its columns: [rank, out], float32.
        rest: [in], float32.
    """

    factor: torch.Tensor
    returned: torch.Tensor
    rest: torch.Tensor

    def kept(self, site: SummingSite) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Known.kept`."""
        rows = site.rows(site.constant("factor", self.factor))  # [..., width, rank]
        rest = site.rows(aten.unsqueeze.default(site.constant("rest", self.rest), 1))
        alone = aten.mul.Tensor(site.identity(), rest)
        along = aten.matmul.default(rows, aten.transpose.int(rows, -1, -2))
        moments = aten.add.Tensor(along, alone)
        products = aten.matmul.default(rows, site.constant("returned", self.returned))
        return moments, aten.add.Tensor(products, aten.mul.Tensor(site.before(), rest))


def known_from_text(
    program: Program, groups: Sequence[Group], rank: int, context: Context, wanted_by: str
) -> dict[str, Known]:
    """Collect it on the calibration text, for each matrix by its weight's name.

    Args:
        program: What to run, dense.
        groups: Whose units are chosen.
        rank: How many directions to keep; all where 0.
        context: Has the text and shows the progress.
        wanted_by: For the message where there is no text.

    Raises:
        PassError: there is no text, or activations are not finite.
    """
    readers = {g.structure.name: [r for p in g.summing for r in p.inputs] for g in groups}
    wanted = in_order(readers, program.main)
    found: dict[str, list[torch.Tensor]] = {}
    for reader, moments in stream_moments(program, wanted, context, wanted_by, with_second=True):
        found.setdefault(reader.weight, []).append(moments.require_second() / moments.tokens)
    matrices = {r.weight: r.matrix(program.weights).double() for r in wanted}
    return {name: _known(torch.stack(found[name]).mean(0), matrices[name], rank) for name in found}


def _known(moments: torch.Tensor, matrix: torch.Tensor, rank: int) -> Known:
    if not 0 < rank < len(moments):
        return Whole(moments.float(), (moments @ matrix.T).float())
    values, vectors = torch.linalg.eigh(moments)
    factor = vectors[:, -rank:] * values[-rank:].clamp_min(0).sqrt()  # [in, rank]
    rest = (moments.diagonal() - factor.square().sum(1)).clamp_min(0)
    return LowRank(factor.float(), (matrix @ factor).T.float().contiguous(), rest.float())
