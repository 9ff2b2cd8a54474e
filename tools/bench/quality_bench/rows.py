"""The rows of the quality table: which pipelines are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.row import Row

METHODS = {"uniform": "", "global": " method=global"}
REPAIRS = {
    "none": "",
    "bias": ",compensate-bias",
    "refit": ",refit",
    "reconstruct": ",refit,reconstruct",
}
_OF_LOSSES = {"obs-fisher": " standardise=none"}
"""Criteria whose scores are losses in one unit for all layers, and what ``global`` adds there."""
_PLAN = "score{criterion=obs-fisher},allocate{keep=K method=global standardise=none}"
_PLAN_AGAIN = _PLAN.replace("}", " inputs=pruned}", 1)
RECIPES = {
    "best": f"{_PLAN},remove-structures{REPAIRS['reconstruct']},match-logits",
    "best-without-training": f"{_PLAN},remove-structures{REPAIRS['refit']}",
    "planned-twice": f"{_PLAN},{_PLAN_AGAIN},remove-structures{REPAIRS['refit']}",
}
"""Pipelines by name; K stands for the share of the block parameters that stays."""
TASKS = {
    "boolq": False,
    "piqa": True,
    "hellaswag": True,
    "winogrande": False,
    "arc_easy": True,
    "arc_challenge": True,
    "openbookqa": True,
}
"""The tasks, and whether their likelihoods are divided by the characters."""


def all_criteria() -> list[str]:
    """The criteria that score units, by name."""
    from prunec.passes.analysis.importance import CRITERIA

    return [name for name, found in CRITERIA.items() if not found.scores_branches]


def grid(
    keep: float, criteria: Sequence[str], methods: Sequence[str], repairs: Sequence[str]
) -> Iterator[Row]:
    """Every criterion, allocation and repair on FFN channels, which is what the peers cut.

    Raises:
        ValueError: there is no such criterion.
    """
    if unknown := sorted(set(criteria) - set(all_criteria())):
        raise ValueError(f"no criteria {unknown} of units; there are {all_criteria()}")
    for criterion in criteria:
        for method in methods:
            options = METHODS[method]
            options += _OF_LOSSES.get(criterion, "") if method == "global" else ""
            for repair in repairs:
                pipeline = (
                    f"score{{criterion={criterion} kinds=ffn-channel}},"
                    f"allocate{{keep={keep} kinds=ffn-channel{options}}},"
                    f"remove-structures{REPAIRS[repair]}"
                )
                yield Row(f"{criterion} {method} {repair}", keep, pipeline)


def recipe_row(name: str, keep: float) -> Row:
    """A named recipe at one size."""
    return Row(name, keep, RECIPES[name].replace("K", str(keep)))
