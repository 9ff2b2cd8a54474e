"""From scores to the units that are chosen, as plain tensor functions.

Each takes tensors, or the proxies of a graph that is being written. Scores are [units] or
[batch, units], float32, larger is better; of equal scores the lower index is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

aten = torch.ops.aten

Constant = Callable[[str, torch.Tensor], torch.Tensor]

CERTAIN = torch.finfo(torch.float32).max
"""Above every score: of a unit that always stays."""


def choose(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The indices of the `count` best units, ascending: [..., count], int64.

    Of `topk` only the least value is read, for which of equal scores it takes is not said; and
    the indices come out in order by counting, which costs less than sorting them.

    Args:
        scores: [..., units].
        count: At least 1, and less than there are units.
    """
    least = aten.slice.Tensor(aten.topk.default(scores, count)[0], -1, count - 1, count)
    above = _whole(aten.gt.Tensor(scores, least))
    level = _whole(aten.eq.Tensor(scores, least))
    number = aten.add.Tensor(
        aten.cumsum.default(level, -1), aten.sum.dim_IntList(above, [-1], True)
    )
    fits = _whole(aten.le.Scalar(number, count))
    chosen = aten.add.Tensor(above, aten.mul.Tensor(level, fits))
    # Each chosen unit is put into its place, the others into one behind the last.
    place = aten.sub.Tensor(aten.cumsum.default(chosen, -1), count + 1)
    place = aten.add.Tensor(aten.mul.Tensor(place, chosen), count)
    unit = aten.sub.Tensor(aten.cumsum.default(aten.ones_like.default(place), -1), 1)
    ordered = aten.scatter.src(aten.zeros_like.default(place), -1, place, unit)
    return aten.slice.Tensor(ordered, -1, 0, count)


def _whole(condition: torch.Tensor) -> torch.Tensor:
    return aten._to_copy.default(condition, dtype=torch.int64)


def fuse_ranks(scores: torch.Tensor, prior_places: torch.Tensor, share: float) -> torch.Tensor:
    """Scores by which units compete that are good here and good in general.

    r = (1 - share) * place(scores) + share * place(prior), where the best has place 0.

    Source: GLASS, arXiv 2508.14302: weighted aggregation of local and global ranks.

    Args:
        scores: [..., units].
        prior_places: [units], float32.
        share: Weight of the prior, 0 to 1.

    Returns:
        [..., units], float32: -r.
    """
    here = aten.mul.Tensor(places(scores), share - 1)
    return aten.sub.Tensor(here, aten.mul.Tensor(prior_places, share))


def places(scores: torch.Tensor) -> torch.Tensor:
    """The place of each unit among all, 0 for the best: [..., units], float32."""
    found = aten.sort.default(_best_first(scores))[1]
    return aten._to_copy.default(found, dtype=torch.float32)


def _best_first(scores: torch.Tensor) -> torch.Tensor:
    return aten.sort.stable(scores, stable=True, dim=-1, descending=True)[1]


@dataclass(frozen=True)
class Choice:
    """How the units of one structure are chosen; all that does not depend on the prompt.

    Attributes:
        fixed: The units, ascending, where the prompt has no say: [count], int64.
        column_norms: Factors on the prompt's scores: [units], float32.
        prior_places: Places by the prior, 0 for the best: [units], float32.
        prior_share: The weight of these places.
        core: `CERTAIN` for units that always stay, its negative for others: [units], float32.
    """

    fixed: torch.Tensor | None = None
    column_norms: torch.Tensor | None = None
    prior_places: torch.Tensor | None = None
    prior_share: float = 0.0
    core: torch.Tensor | None = None

    def by_scores(self, scores: torch.Tensor, count: int, constant: Constant) -> torch.Tensor:
        """The units that these scores choose: [..., count], int64, ascending.

        Args:
            scores: Of the prompt: [..., units].
            count: How many to choose.
            constant: Makes a tensor one that the graph reads, under a name for people.
        """
        if self.column_norms is not None:
            norms = constant("column_norms", self.column_norms)
            scores = aten.mul.Tensor(scores, norms)
        if self.prior_places is not None:
            prior = constant("prior_places", self.prior_places)
            scores = fuse_ranks(scores, prior, self.prior_share)
        if self.core is not None:
            scores = aten.maximum.default(scores, constant("core", self.core))
        return choose(scores, count)
