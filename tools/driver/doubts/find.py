"""Look for contradictions in a job's report, or in what was measured of one model or two."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from prunec.driver.doubts.answers import doubt_answers
from prunec.driver.doubts.contradiction import Contradiction, not_finite
from prunec.driver.doubts.quality import doubt_agreement, doubt_perplexity
from prunec.driver.doubts.sizes import doubt_sizes


def doubt_report(report: Mapping[str, Any]) -> list[Contradiction]:
    """Every contradiction in a job's report, also in one that was read again."""
    return [
        *doubt_measured(report["quality"], "the pruned model", "the dense model"),
        *doubt_sizes(report),
        *doubt_answers(report["answers"]),
    ]


def doubt_measured(
    found: Mapping[str, Any], model: str, against: str | None
) -> list[Contradiction]:
    """Every contradiction in what was measured on a text.

    Args:
        found: A `Perplexity`, an `Agreement` or a `Likeness` as JSON.
        model: What to call the model.
        against: What to call the reference, where there is one.
    """
    if "perplexity" in found:
        return list(doubt_perplexity(found, model))
    if "dense_perplexity" in found:
        return list(doubt_agreement(found, against or "the other", model))
    return [not_finite(f"{name} of {model}", name, value) for name, value in _lost(found, "")]


def _lost(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """The numbers within a JSON value that are not finite, by where they are."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _lost(item, f"{name}.{key}" if name else key)
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _lost(item, f"{name}[{place}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield name, value
