"""Assemble the ``prunec`` command from its parts."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

import prunec
from prunec.driver.commands import (
    bench,
    check,
    demo,
    evaluate,
    explain,
    generate,
    list_passes,
    run,
)
from prunec.driver.explaining import ExplainingGroup
from prunec.driver.tested_versions import tell_untested

app = typer.Typer(
    cls=ExplainingGroup,
    name="prunec",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("explain")(explain.explain)
app.command("passes")(list_passes.list_passes)
app.command("eval")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.command("generate")(generate.generate)
app.command("check")(check.check)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"prunec {prunec.__version__}")
        raise typer.Exit


@app.callback()
def prunec_command(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Prune a transformer and build what runs it: ONNX and TensorRT, with the KV cache.

    Start with [bold]prunec demo[/bold]: it needs no GPU and a few minutes.
    """
    notice = tell_untested()
    if notice is not None:
        typer.echo(notice, err=True)


def main() -> None:
    """Run the ``prunec`` command."""
    # A polite kill is an interrupt: staged work is kept and nothing is left half-written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
