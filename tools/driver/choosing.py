"""Say what a prompt chooses in a program, and what that saves and costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunec.driver.formats import format_bytes, format_change
from prunec.passes.analysis.cost import decode_bytes
from prunec.passes.ir import Program
from prunec.passes.ir.chosen import choices_per_batch, chosen_units, has_choice


def describe_choice(dense: Program, pruned: Program) -> dict[str, Any] | None:
    """What stands in the report under ``choice``; None where no prompt chooses.

    Returns:
        ``batch``: whether the rows of a batch share a choice. ``structures``: units and chosen
        ones of each. ``decode_bytes``: what a decoded token reads of the weights, in the
        ``dense`` model, in the ``pruned`` one with all its units, and with the ``chosen`` ones.
        ``gathered_bytes``: what the chosen parts take in memory, beside the whole weights.
        ``constant_bytes``: what prefill reads besides weights to choose and to repair.
    """
    if not has_choice(pruned):
        return None
    found = chosen_units(pruned)
    gathered, whole = (sum(getattr(f, key) for f in found) for key in ("part_bytes", "whole_bytes"))
    chosen = decode_bytes(pruned)
    constants = [w for n, w in pruned.weights.items() if n.startswith("experts.")]
    return {
        "batch": choices_per_batch(pruned),
        "structures": [{"units": f.units, "count": f.count} for f in found],
        "decode_bytes": {
            "dense": decode_bytes(dense),
            "pruned": chosen - gathered + whole,
            "chosen": chosen,
        },
        "gathered_bytes": gathered,
        "constant_bytes": sum(w.nbytes for w in constants),
    }


def tell_choice(choice: Mapping[str, Any] | None) -> list[str]:
    """The same in sentences for people; none where no prompt chooses."""
    if choice is None:
        return []
    units, count = (sum(s[key] for s in choice["structures"]) for key in ("units", "count"))
    counts = sorted({s["count"] for s in choice["structures"]})
    read = choice["decode_bytes"]
    spread = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    rows = "one choice for a batch" if choice["batch"] == "shared" else "each row its own"
    return [
        f"The prompt chooses {count:,} of {units:,} feed-forward units, {spread} in each of "
        f"{len(choice['structures'])} layers; {rows}.",
        f"A decoded token reads {format_bytes(read['chosen'])} of weights, against "
        f"{format_bytes(read['pruned'])} with all units "
        f"({format_change(read['pruned'], read['chosen'])}) and {format_bytes(read['dense'])} in "
        "the dense model.",
        f"In memory the chosen parts take {format_bytes(choice['gathered_bytes'])} for each "
        "choice, beside the whole weights until those are released; prefill reads another "
        f"{format_bytes(choice['constant_bytes'])} of constants to choose by.",
    ]
