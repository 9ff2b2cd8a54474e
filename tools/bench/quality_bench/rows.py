"""The rows of the quality table: which pipelines are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prunec.passes.analysis.importance import CRITERIA as KNOWN
from prunec.passes.analysis.importance import Score
from prunec.passes.contract import Pass
from prunec.passes.plan import Allocate
from prunec.passes.repair import CompensateBias, Reconstruct, Refit
from prunec.passes.spec import format_pipeline
from prunec.passes.surgery import RemoveStructures

CRITERIA = tuple(name for name, found in KNOWN.items() if not found.scores_branches)
METHODS: dict[str, dict[str, Any]] = {"uniform": {}, "global": {"method": "global"}}
REPAIRS: dict[str, tuple[Pass, ...]] = {
    "none": (),
    "bias": (CompensateBias(),),
    "refit": (Refit(),),
    "reconstruct": (Refit(), Reconstruct()),
}
_LOSSES = ("obs-fisher",)  # criteria whose scores are losses in one unit for all layers
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


@dataclass(frozen=True)
class Row:
    """One way to prune to one size."""

    name: str
    keep: float
    passes: tuple[Pass, ...]

    @property
    def key(self) -> str:
        """Under which the result is kept."""
        return f"{self.name} keep={self.keep:g}"

    def to_json(self) -> dict[str, Any]:
        """What identifies it."""
        return {"name": self.name, "keep": self.keep, "pipeline": format_pipeline(self.passes)}


def grid(
    keep: float, criteria: Sequence[str], methods: Sequence[str], repairs: Sequence[str]
) -> Iterator[Row]:
    """Every criterion, allocation and repair on FFN channels, which is what the peers cut."""
    for criterion in criteria:
        for method in methods:
            for repair in repairs:
                options = dict(METHODS[method])
                if method == "global" and criterion in _LOSSES:
                    options["standardise"] = "none"
                passes = (
                    Score(criterion, ("ffn-channel",)),
                    Allocate(keep=keep, kinds=("ffn-channel",), **options),
                    RemoveStructures(),
                    *REPAIRS[repair],
                )
                yield Row(f"{criterion} {method} {repair}", keep, passes)


def _best(keep: float, *repairs: Pass) -> tuple[Pass, ...]:
    return (
        Score("obs-fisher"),
        Allocate(keep=keep, method="global", standardise="none"),
        RemoveStructures(),
        *repairs,
    )


RECIPES = {
    "best": lambda keep: _best(keep, Refit(), Reconstruct()),
    "best-without-training": lambda keep: _best(keep, Refit()),
}


def recipe_row(name: str, keep: float) -> Row:
    """A named recipe at one size."""
    return Row(name, keep, RECIPES[name](keep))
