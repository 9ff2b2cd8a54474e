"""``prunec run``: do what a recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prunec.driver.terminal import open_terminal

Model = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Another model than the recipe's.")
]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="FOLDER", help="Another output folder.")
]
Text = Annotated[
    Path | None, typer.Option("--text", metavar="FILE", help="Take perplexity on this text.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")]


def run(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe.")],
    model: Model = None,
    output: Output = None,
    text: Text = None,
    as_json: AsJson = False,
) -> None:
    """Prune a model and build everything that its recipe asks for.

    Example: [bold]prunec run half --model ./my-model --output ./half[/bold]
    """
    do_job(recipe, {"model.source": model, "output.folder": output, "evaluate.text": text}, as_json)


def do_job(recipe: str, overrides: dict[str, Any], as_json: bool) -> None:
    """Run a job and show its result."""
    from prunec.driver.job import run_job
    from prunec.driver.recipe import find_recipe, load_recipe
    from prunec.driver.summary import summarise

    given = {key: str(value) for key, value in overrides.items() if value is not None}
    with open_terminal(as_json) as terminal:
        report = run_job(load_recipe(find_recipe(recipe), given), terminal)
        terminal.deliver(report, summarise(report))
