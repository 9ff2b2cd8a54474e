"""``prunec passes``: what a pipeline can be made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from prunec.driver.commands.run import AsJson
from prunec.driver.terminal import new_table, open_terminal

if TYPE_CHECKING:
    from prunec.passes.catalogue import CatalogueEntry


def list_passes(as_json: AsJson = False) -> None:
    """List every pass, with its options and where it comes from.

    Example: [bold]prunec passes --json[/bold]
    """
    from prunec.passes.catalogue import known_passes
    from prunec.passes.pipelines import PIPELINES
    from prunec.passes.spec import format_pipeline

    rows = [describe_pass(entry) for entry in known_passes().values()]
    pipelines = {name: format_pipeline(passes) for name, passes in PIPELINES.items()}
    named = new_table("Named pipelines", "name", "stands for")
    for name, text in pipelines.items():
        named.add_row(name, text)
    with open_terminal(as_json) as terminal:
        terminal.deliver({"passes": rows, "pipelines": pipelines}, _pass_table(rows), named)


def describe_pass(entry: CatalogueEntry) -> dict[str, Any]:
    """What there is to know about a pass before it runs."""
    pass_class = entry.pass_class
    options = {}
    for field in fields(pass_class):  # type: ignore[arg-type]  # every pass is a dataclass
        value = field.default_factory() if callable(field.default_factory) else field.default
        if isinstance(value, tuple):
            value = "+".join(map(str, value))
        options[field.name] = "required" if value is MISSING else value
    return {
        "name": entry.name,
        "is_exact": pass_class.is_exact,
        "effect": (pass_class.__doc__ or "").strip().partition("\n")[0],
        "options": options,
        "source": pass_class.source,
        "owner": entry.owner,
    }


def _pass_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = new_table("Passes", "name", "output", "what it does", "from")
    table.columns[0].no_wrap = True
    for row in rows:
        options = " ".join(f"{key}={value}" for key, value in row["options"].items())
        effect = Text(row["effect"])
        for label, text in (("options", options), ("source", row["source"])):
            if text:
                effect.append(f"\n{label}: {text}", style="dim")
        kind = "exact" if row["is_exact"] else "lossy"
        table.add_row(row["name"], kind, effect, row["owner"])
    return table
