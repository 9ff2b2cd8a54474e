"""``prunec bench``: how fast a model is, alone or in turn with another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from prunec.driver.commands.evaluate import Against
from prunec.driver.commands.run import AsJson
from prunec.driver.formats import format_bytes
from prunec.driver.terminal import new_table, open_terminal

if TYPE_CHECKING:
    from prunec.backends.measure.latency import Latency, Ratio, Summary
    from prunec.driver.artefact import Artefact


def bench(
    artefact: Annotated[
        str,
        typer.Argument(help="An ONNX file or folder, a result or program folder, or a model."),
    ],
    against: Against = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Length of the prompt.")] = 128,
    new_tokens: Annotated[int, typer.Option(min=2, help="Tokens generated after it.")] = 32,
    batch: Annotated[int, typer.Option(min=1, help="Prompts at once.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Measured runs.")] = 10,
    warmup: Annotated[int, typer.Option(min=0, help="Runs before them.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Measure prefill and decode; with --against, both models in turn, and their ratio.

    Of encoders and classifiers, one pass over texts of --prompt-tokens.

    Example: [bold]prunec bench prunec-out/demo/onnx --against prunec-out/dense/onnx[/bold]
    """
    from prunec.backends.measure import Workload, compare_latency, measure_latency
    from prunec.driver.artefact import open_artefact
    from prunec.driver.machine import describe_machine, versions
    from prunec.driver.passes_bench import bench_passes

    workload = Workload(prompt_tokens, new_tokens, batch, repeats, warmup)
    with open_terminal(as_json) as terminal:
        models = [open_artefact(name, terminal) for name in (artefact, against) if name is not None]
        document: dict[str, Any] = {"machine": describe_machine(), "versions": versions()}
        document["models"] = [
            {"reference": m.reference, "runner": m.model.name, "size_bytes": m.size_bytes}
            for m in models
        ]
        with terminal.stage("Measure"):
            show = terminal.progress
            if models[0].reads_whole:
                measured, table = bench_passes(models, workload, show)
                document |= measured
            elif against is None:
                alone = measure_latency(models[0].runner, workload, progress=show)
                document["latency"] = alone.to_json()
                table = _tabulate(models, [alone], {})
            else:
                both = compare_latency(models[0].runner, models[1].runner, workload, progress=show)
                document["comparison"] = both.to_json()
                ratios = {"ttft_ms": both.ttft, "tpot_ms": both.tpot}
                table = _tabulate(models, [both.subject, both.baseline], ratios)
        terminal.deliver(document, table)


_ROWS = (
    ("Time to first token, ms", "ttft_ms"),
    ("Time per output token, ms", "tpot_ms"),
    ("Single decode steps, ms", "inter_token_ms"),
    ("Prefill, tokens/s", "prefill_tokens_per_second"),
    ("Decode, tokens/s", "decode_tokens_per_second"),
)


def _tabulate(
    models: Sequence[Artefact], found: Sequence[Latency], ratios: Mapping[str, Ratio]
) -> Table:
    load = found[0].workload
    title = (
        f"Prompt {load.prompt_tokens}, {load.new_tokens} new tokens, batch {load.batch}, "
        f"{load.repeats} runs: p50 (p90, p99)"
    )
    columns = [f">{model.reference}\n{model.model.name}" for model in models]
    extra = [">times faster\n(p10, p90)"] if ratios else []
    table = new_table(title, "", *columns, *extra)
    for label, key in _ROWS:
        row = [_quantiles(getattr(one, key)) for one in found]
        row += [_times_faster(ratios[key])] if key in ratios else []
        table.add_row(label, *row)
    table.add_row("Model size", *(format_bytes(model.size_bytes) for model in models))
    return table


def _quantiles(summary: Summary) -> str:
    if summary.unit != "ms":
        return f"{summary.p50:.4g}"
    return f"{summary.p50:.4g} ({summary.p90:.4g}, {summary.p99:.4g})"


def _times_faster(ratio: Ratio) -> str:
    """The inverse of a ratio of times, which people find easier to read."""
    return f"{1 / ratio.of_medians:.2f} ({1 / ratio.p90:.2f}, {1 / ratio.p10:.2f})"
