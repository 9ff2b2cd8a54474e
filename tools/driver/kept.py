"""Tell what a plan keeps, by kind and by layer."""

from __future__ import annotations

from typing import Any

from prunec.passes.plan import Cut, Plan

_PLACES = {"residual": "stream", "layer": "branch"}
"""Kinds whose structures are no parts of one layer, and what each of their columns is."""


def kept_by_kind(plan: Plan | None) -> list[dict[str, Any]]:
    """For each kind of structure and each layer, how many units there were and stay.

    Residual branches are listed one by one: each is there or not.
    """
    kinds: dict[str, list[dict[str, int]]] = {}
    for cut in plan.cuts if plan is not None else ():
        kinds.setdefault(cut.kind, []).extend(_columns(cut))
    return [
        {"kind": kind, "place": _PLACES.get(kind, "layer"), "layers": columns}
        for kind, columns in kinds.items()
    ]


def _columns(cut: Cut) -> list[dict[str, int]]:
    if cut.kind != "layer":
        return [{"index": cut.index, "size": cut.size, "kept": cut.kept_count}]
    return [{"index": i, "size": 1, "kept": int(i in cut.rows[0])} for i in range(cut.size)]
