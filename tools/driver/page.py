"""Render a job's report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from prunec.driver.budgets import describe_budget, describe_method
from prunec.driver.charts import draw_kept
from prunec.driver.choosing import tell_choice
from prunec.driver.formats import (
    format_bytes,
    format_change,
    format_count,
    format_kind,
    format_rate,
    format_seconds,
)
from prunec.driver.tasks import Figure, task_named

Report = Mapping[str, Any]


def render_page(report: Report) -> str:
    """The page for a report (`prunec.driver.report`)."""
    environment = Environment(
        loader=PackageLoader("prunec.driver"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "budget": describe_budget,
        "bytes": format_bytes,
        "change": format_change,
        "count": format_count,
        "draw_kept": draw_kept,
        "kind": format_kind,
        "rate": format_rate,
        "seconds": format_seconds,
    }
    return environment.get_template("report.html.j2").render(
        report=report,
        lead=write_lead(report),
        cards=build_cards(report),
        has_cache=report["sizes"]["before"]["kv_bytes_per_token"] > 0,
        layer_kinds=[kind for kind in report["kinds"] if kind["place"] == "layer"],
        layer_rows=build_layer_rows(report["kinds"]),
        method=describe_method(report["plan"]),
        choice=tell_choice(report["choice"]),
        plans_choice=_plans_choice(report),
        machine=_describe_machine(report),
        slowest=max(report["stages"].values()),
    )


def write_lead(report: Report) -> str:
    """The result in a few sentences."""
    told = task_named(report["task"]).tell(report["quality"])
    text = " ".join([*_what_shrank(report), told])
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _what_shrank(report: Report) -> Iterator[str]:
    before, after = report["sizes"]["before"], report["sizes"]["after"]
    removed = 1 - after["block_parameters"] / before["block_parameters"]
    if removed or not report["choice"]:
        yield (
            f"{format_rate(removed)} of the block parameters were removed: "
            f"{format_count(before['parameters'])} parameters became "
            f"{format_count(after['parameters'])}."
        )
    if report["choice"]:
        read = report["choice"]["decode_bytes"]
        yield (
            "The prompt chooses the units that its answer is decoded with: a decoded token reads "
            f"{format_bytes(read['chosen'])} of weights, not {format_bytes(read['dense'])}."
        )


def _plans_choice(report: Report) -> bool:
    """Whether the plan is how many units a prompt chooses, not what was removed."""
    layers = [layer for kind in report["kinds"] for layer in kind["layers"]]
    chosen = [s["count"] for s in report["choice"]["structures"]] if report["choice"] else None
    return [layer["kept"] for layer in layers if layer["kept"] < layer["size"]] == chosen


def build_cards(report: Report) -> list[dict[str, Any]]:
    """The headline numbers, sizes first."""
    sizes = report["sizes"]
    cards = [
        _size_card(label, sizes["before"][key], sizes["after"][key], form)
        for label, key, form in (
            ("Parameters", "parameters", format_count),
            ("Block parameters", "block_parameters", format_count),
            ("Weights", "weight_bytes", format_bytes),
            ("KV cache per token", "kv_bytes_per_token", format_bytes),
            ("Operations per token", "flops_per_token", format_count),
        )
        if sizes["before"][key]  # no cache where the model keeps none
    ]
    return cards + [_quality_card(f) for f in task_named(report["task"]).figures(report["quality"])]


def _size_card(label: str, before: float, after: float, form: Any) -> dict[str, Any]:
    return {
        "label": label,
        "after": form(after),
        "note": f"from {form(before)}, {format_change(before, after)}",
        "share": after / before if before else None,
        "tone": "size",
    }


def _quality_card(figure: Figure) -> dict[str, Any]:
    return {
        "label": figure.label,
        "after": figure.after,
        "note": figure.note,
        "share": figure.share,
        "tone": "quality",
    }


def build_layer_rows(kinds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each layer, with a cell for each structure kind; None where it has none.

    Kinds that run through all layers have no cells.
    """
    tables = [
        {layer["index"]: layer for layer in kind["layers"]}
        for kind in kinds
        if kind["place"] == "layer"
    ]
    indices = sorted({index for table in tables for index in table})
    return [{"index": i, "cells": [table.get(i) for table in tables]} for i in indices]


def _describe_machine(report: Report) -> dict[str, str]:
    machine = report["machine"]
    return {
        "processor": f"{machine['processor']}, {machine['threads']} of {machine['cores']} cores",
        "GPU": ", ".join(machine["gpus"]) or "none",
        "system": machine["system"],
        "peak memory": format_bytes(report["peak_memory_bytes"]),
    }
