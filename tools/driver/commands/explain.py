"""``prunec explain``: what can be cut from a model, and what cannot and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunec.driver.commands.run import AsJson
from prunec.driver.terminal import Terminal, open_terminal

if TYPE_CHECKING:
    from prunec.passes.ir import Program


def explain(
    model: Annotated[
        str,
        typer.Argument(
            help="A folder with config.json, another model reference, or a result's folder."
        ),
    ],
    picture: Annotated[
        str | None,
        typer.Option(
            "--picture", metavar="STRUCTURE", help="Draw one structure: its name, or a kind."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where to write the picture (SVG).")
    ] = Path("structure.svg"),
    without_cache: Annotated[
        bool, typer.Option("--without-cache", help="Trace a decoder without its KV cache.")
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            "--part", metavar="text", help="The text part of a model that takes more than text."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which dimensions of a model shrink together, and which are refused and why.

    Reads the configuration only: no weight is loaded.

    Example: [bold]prunec explain ./my-model --picture ffn-channel --output ffn.svg[/bold]
    """
    from prunec.driver.structure_report import describe_coupling, to_tables
    from prunec.passes.analysis.coupling import find_structures

    with open_terminal(as_json) as terminal:
        program = open_shapes(model, terminal, cache=not without_cache, part=part)
        with terminal.stage("Find the coupled structures"):
            coupling = find_structures(program)
            document = {"model": model, **describe_coupling(program, coupling)}
        if picture is None:
            terminal.deliver(document, *to_tables(model, document))
            return
        from prunec.driver.picture import draw_structure

        drawn = draw_structure(program, coupling, picture, output)
        document["picture"] = {"structure": drawn.name, "path": str(output)}
        terminal.deliver(document, f"{output}: {drawn.name}, {drawn.size} units")


def open_shapes(
    reference: str, terminal: Terminal, *, cache: bool = True, part: str | None = None
) -> Program:
    """The program of a model reference without its weights, or a stored program."""
    from prunec.driver.left_out import describe_left_out
    from prunec.driver.program_folder import find_program
    from prunec.frontend.export import trace_config
    from prunec.frontend.sources import find_config
    from prunec.passes.ir import cast, load_program, model_dtype

    folder = find_program(reference)
    if folder is not None:
        return load_program(folder)
    with terminal.stage(f"Read the configuration of {reference}"):
        config = find_config(reference)
    with terminal.stage("Trace the model"):
        program = trace_config(config, cache=cache, part=part)
    if left_out := describe_left_out(program.origin):
        terminal.say(f"  {left_out}")
    # Bytes are counted as the checkpoint stores them; types of one size weigh the same.
    stored = config.dtype or model_dtype(program)
    is_alike = stored.itemsize == model_dtype(program).itemsize
    return program if is_alike else cast(program, stored)
