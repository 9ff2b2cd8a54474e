"""Compare two models that read texts whole, on a text."""

from __future__ import annotations

from rich.table import Table

from prunec.backends.measure import Likeness, likeness, require_same_outputs
from prunec.driver.artefact import Artefact, ArtefactError
from prunec.driver.tasks import task_named
from prunec.driver.tasks.whole_text import WholeText
from prunec.driver.terminal import Terminal, new_table
from prunec.frontend.calibration import CalibrationSpec, calibration_tokens


def require_alike(model: Artefact, against: Artefact) -> None:
    """Check that two models return the same kinds of numbers.

    Raises:
        ArtefactError: they do not, or one of them writes text.
    """
    try:
        require_same_outputs(against.reader, model.reader)
    except ValueError as error:
        raise ArtefactError(f"{model.reference} and {against.reference}: {error}") from error


def measure_whole_text(
    model: Artefact, against: Artefact | None, spec: CalibrationSpec, terminal: Terminal
) -> Likeness:
    """How far a model agrees with another on a text.

    Raises:
        ArtefactError: there is no other one.
        CalibrationError: the text is missing or too short.
    """
    if against is None:
        raise ArtefactError(
            f"{model.reference} reads texts whole and labels are not known: alone there is nothing "
            "to measure. Give the uncut model as --against MODEL"
        )
    found = calibration_tokens(spec, model.load_tokenizer(), progress=terminal.progress)
    with terminal.stage(f"Measure on {spec.source}"):
        return likeness(
            against.reader,
            model.reader,
            found.tokens,
            text=found.description,
            progress=terminal.progress,
        )


def tabulate_whole_text(found: Likeness) -> Table:
    """The result of `measure_whole_text` for people."""
    title = f"{found.windows} texts, {found.tokens} tokens of {found.text['source']}"
    table = new_table(title, "", ">model", "")
    for figure in task_named(WholeText.name).figures(found.to_json()):
        table.add_row(figure.label, figure.after, figure.note)
    return table
