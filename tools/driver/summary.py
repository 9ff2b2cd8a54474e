"""The end of a job on the terminal: what shrank, what it cost, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prunec.driver.budgets import describe_budget, describe_method
from prunec.driver.choosing import tell_choice
from prunec.driver.formats import (
    format_bytes,
    format_change,
    format_count,
    format_seconds,
)
from prunec.driver.report import Report
from prunec.driver.tasks import task_named
from prunec.driver.terminal import new_table

_SIZES = (
    ("Parameters", "parameters", format_count),
    ("Block parameters", "block_parameters", format_count),
    ("Weights", "weight_bytes", format_bytes),
    ("KV cache per token", "kv_bytes_per_token", format_bytes),
    ("Operations per token", "flops_per_token", format_count),
)


def summarise(report: Report) -> RenderableType:
    """Tables of sizes, quality, answers, files and commands."""
    spent = format_seconds(sum(report["stages"].values()))
    return Group(
        _numbers(report),
        tell_warnings(report["warnings"]),
        *_budgets(report),
        *(Text(line) for line in tell_choice(report["choice"])),
        *_answers(report),
        _files(report),
        Text(f"Everything took {spent}; open {report['folder']}/report.html in a browser."),
        *_steps(report),
    )


def _numbers(report: Report) -> Table:
    title = f"{report['model']['reference']}, pruned"
    table = new_table(title, "", ">before", ">after", ">change")
    before, after = report["sizes"]["before"], report["sizes"]["after"]
    for label, key, form in _SIZES:
        if not before[key]:  # no cache
            continue
        change = format_change(before[key], after[key])
        table.add_row(label, form(before[key]), form(after[key]), change)
    table.add_section()
    for figure in task_named(report["task"]).figures(report["quality"]):
        table.add_row(figure.label, figure.before, figure.after, figure.change)
    return table


def tell_warnings(warnings: Sequence[Mapping[str, Any]]) -> Text:
    """What contradicts itself in the numbers above; empty where nothing does."""
    lines = [f"\nWarning: {warning['message']} ({warning['code']})" for warning in warnings]
    return Text("".join(lines), style="bold yellow", end="\n" if lines else "")


def _budgets(report: Report) -> Iterator[RenderableType]:
    method = describe_method(report["plan"])
    if method:
        yield Text(f"\n{method}", style="bold")
        yield from (Text(f"  {describe_budget(b)}") for b in report["plan"]["budgets"])


def _answers(report: Report) -> Iterator[RenderableType]:
    for asked in report["answers"]:
        yield Text(f"\n{asked['prompt']}", style="bold")
        for name, label in (("before", "dense"), ("after", "pruned")):
            said = " ".join(asked[name].split()) or "(nothing)"
            yield Text.assemble((f"  {label:<7}", "cyan"), said)
    yield Text("")


def _files(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    for file in report["files"]:
        path = f"{report['folder']}/{file['path']}"
        size = format_bytes(file["size_bytes"]) if file["size_bytes"] else ""
        table.add_row(Text(path, style="green"), file["what"], size)
    return table


def _steps(report: Report) -> Iterator[RenderableType]:
    yield Text("\nWhat to do next", style="bold")
    for step in report["next_steps"]:
        yield Text(f"  {step['what']}:")
        yield Text(f"    {step['command']}", style="cyan")
