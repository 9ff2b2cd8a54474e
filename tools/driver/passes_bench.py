"""Time models that read texts whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from prunec.backends.measure import PassLatency, PassWorkload, Workload, measure_passes, pass_ratio
from prunec.driver.artefact import Artefact
from prunec.driver.formats import format_bytes
from prunec.driver.terminal import new_table
from prunec.passes.contract import Progress


def bench_passes(
    models: Sequence[Artefact], workload: Workload, progress: Progress[Any]
) -> tuple[dict[str, Any], Table]:
    """Measure one pass of one model, or of two in turn, for machines and for people.

    Args:
        models: The one in question, and the one that it is held against.
        workload: Prompts are the texts; nothing is added to them.
        progress: Shows the runs.

    Raises:
        ArtefactError: one of the models writes text.
    """
    once = PassWorkload(
        workload.prompt_tokens, workload.batch, workload.repeats, workload.warmup, workload.seed
    )
    found = measure_passes([model.reader for model in models], once, progress=progress)
    document: dict[str, Any] = {"passes": [one.to_json() for one in found]}
    if len(found) == 2:
        document["ratio"] = asdict(pass_ratio(*found))
    return document, _tabulate(models, found)


def _tabulate(models: Sequence[Artefact], found: Sequence[PassLatency]) -> Table:
    load = found[0].workload
    title = f"Texts of {load.tokens} tokens, batch {load.batch}, {load.repeats} runs: p50 (p90)"
    extra = [">times faster"] if len(found) == 2 else []
    columns = [f">{model.reference}\n{model.model.name}" for model in models]
    table = new_table(title, "", *columns, *extra)
    times = [f"{one.pass_ms.p50:.4g} ({one.pass_ms.p90:.4g})" for one in found]
    faster = [f"{1 / pass_ratio(*found).of_medians:.2f}"] if len(found) == 2 else []
    table.add_row("One pass, ms", *times, *faster)
    table.add_row("Tokens/s", *(f"{one.tokens_per_second.p50:.4g}" for one in found))
    table.add_row("Model size", *(format_bytes(model.size_bytes) for model in models))
    return table
