"""``prunec check``: whether a finished result is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunec.driver.commands.run import AsJson
from prunec.driver.terminal import new_table, open_terminal

UNSOUND = 1
"""Exit code when a check fails."""


def check(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished job, or a program.")],
    as_json: AsJson = False,
) -> None:
    """Verify a result: grammar, cache law, ONNX against torch, the engine's manifest.

    Ends with exit code 1 where a check fails.

    Example: [bold]prunec check prunec-out/demo[/bold]
    """
    from prunec.driver.checks import check_folder

    with open_terminal(as_json) as terminal:
        with terminal.stage(f"Check {folder}"):
            findings = list(check_folder(folder))
        table = new_table(str(folder), "check", "result", "detail")
        for finding in findings:
            result = "[green]pass[/green]" if finding.passed else "[red]FAIL[/red]"
            table.add_row(finding.name, result, finding.detail)
        is_sound = all(finding.passed for finding in findings)
        document = {
            "folder": str(folder),
            "is_sound": is_sound,
            "checks": [finding.to_json() for finding in findings],
        }
        terminal.deliver(document, table)
    if not is_sound:
        raise typer.Exit(UNSOUND)
