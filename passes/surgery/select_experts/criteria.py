"""From options, weights and calibration text to how the units of every group are chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prunec.passes.analysis.importance.scores import Scores
from prunec.passes.contract import PassError
from prunec.passes.ir import Program
from prunec.passes.ir.selection import PerUnit, Selection
from prunec.passes.surgery.select_experts.choice import CERTAIN, Choice, choose, places
from prunec.passes.surgery.select_experts.groups import Group


def by_prompt(
    groups: Sequence[Group],
    priors: Sequence[torch.Tensor | None],
    norms: Sequence[torch.Tensor | None],
    *,
    prior: float,
    core: float,
) -> list[Choice]:
    """Choices that the prompt makes, helped by what is known beforehand.

    Args:
        groups: Whose units are chosen.
        priors: What each unit is worth in general, [units] for each group; None where nothing
            reads it.
        norms: Factors on the prompt's scores, [units] for each group; None where there are none.
        prior: The weight of places by the prior.
        core: The share of the chosen units that is always the same: the best by the prior.

    Raises:
        PassError: a prior or a norm is not finite.
    """
    for group, known, norm in zip(groups, priors, norms, strict=True):
        _require_finite(group, known, "prior or core")
        _require_finite(group, norm, "column_norm")
    return [
        Choice(
            column_norms=norm,
            prior_places=places(known) if known is not None and prior > 0 else None,
            prior_share=prior,
            core=_core(known, int(group.count * core)) if known is not None else None,
        )
        for group, known, norm in zip(groups, priors, norms, strict=True)
    ]


def _core(prior: torch.Tensor, count: int) -> torch.Tensor | None:
    if not count:
        return None
    return torch.full_like(prior, -CERTAIN).index_fill_(0, choose(prior, count), CERTAIN)


def by_magnitude(program: Program, groups: Sequence[Group]) -> list[Choice]:
    """The same units for every prompt: those whose rows weigh most.

    The score of a unit is the product of the norms of its rows in all matrices that produce it.
    Source: Dong et al. 2024 (GRIFFIN), arXiv 2404.01365: the static baseline.

    Raises:
        PassError: no matrix produces the units of a group, or one is not finite.
    """
    choices = []
    for group in groups:
        norms = []
        for part in group.parts:
            if part.is_matrix and not part.sums_units:
                rows = program.weights[part.weight].double().norm(dim=1 - part.dim)
                norms += list(part.positions.by_unit(rows))
        if not norms:
            raise PassError(f"{group.structure.name}: choice=magnitude finds no rows to weigh")
        scores = torch.stack(norms).prod(0)
        _require_finite(group, scores, "choice=magnitude")
        choices.append(Choice(fixed=choose(scores, group.count)))
    return choices


def by_scores(groups: Sequence[Group], scores: Scores | None) -> list[Choice]:
    """The same units for every prompt: those with the best scores of this run.

    Raises:
        PassError: a group has no scores, or they are not finite.
    """
    found = run_scores(groups, scores, "choice=static")
    choices = []
    for group, known in zip(groups, found, strict=True):
        _require_finite(group, known, "choice=static")
        choices.append(Choice(fixed=choose(known, group.count)))
    return choices


def run_scores(
    groups: Sequence[Group], scores: Scores | None, wanted_by: str
) -> list[torch.Tensor]:
    """The scores of this run, [units] for each group.

    Raises:
        PassError: a group has no scores.
    """
    if scores is None:
        raise PassError(f"{wanted_by} needs scores: put score before select-experts")
    result = []
    for group in groups:
        found = scores.by_structure.get(group.structure.name)
        if found is None or len(found) != group.structure.size:
            raise PassError(
                f"{wanted_by}: {group.structure.name} has no scores as it is now: put "
                "score{kinds=ffn-channel} right before select-experts"
            )
        result.append(found)
    return result


def by_plan(groups: Sequence[Group], selection: Selection) -> list[Choice]:
    """The same units for every prompt: those that a plan leaves."""
    choices = []
    for group in groups:
        units = selection[group.structure.atom]
        assert not isinstance(units, PerUnit), "feed-forward units stand under no other axis"
        choices.append(Choice(fixed=torch.from_numpy(units.copy())))
    return choices


def column_norms(program: Program, group: Group) -> torch.Tensor:
    """What the columns of each unit weigh in the matrices that sum over it: [units], float32.

    Source: Sun et al. 2023 (Wanda), arXiv 2306.11695: activation norm times weight norm.
    """
    total = torch.zeros(group.structure.size, dtype=torch.float64)
    for part in group.summing:
        squares = program.weights[part.weight].double().square().sum(1 - part.dim)
        total += part.positions.by_unit(squares).sum(0)
    return total.sqrt().float()


def _require_finite(group: Group, values: torch.Tensor | None, wanted_by: str) -> None:
    bad = 0 if values is None else int((~torch.isfinite(values)).sum())
    if bad:
        raise PassError(
            f"{wanted_by}: what {bad} of {group.structure.size} units of {group.structure.name} "
            "are worth is not finite: check the checkpoint and the calibration text"
        )
