"""Say what can be cut from a program and what cannot: for machines, and as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from prunec.driver.formats import format_bytes, format_count
from prunec.driver.terminal import new_table
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import Coupling, Member, RefusedAxis, Structure
from prunec.passes.ir import Program, model_dtype

Row = dict[str, Any]


def describe_coupling(program: Program, coupling: Coupling) -> Row:
    """All that the analysis found: every structure and every refusal, and a summary of each."""
    structures = [_structure(program, coupling, s) for s in coupling.structures]
    refused = [_refusal(axis) for axis in coupling.refusals]
    return {
        "bytes_per_number": model_dtype(program).itemsize,
        "sizes": measure(program).to_json(),
        "kinds": [_kind(rows) for rows in _grouped(structures, "kind")],
        "structures": structures,
        "reasons": [_reason(rows) for rows in _grouped(refused, "reason")],
        "refused": refused,
    }


def to_tables(model: str, document: Row) -> tuple[Table, ...]:
    """The summaries for people."""
    return (
        _kind_table(model, document),
        _member_table(document["kinds"]),
        _reason_table(document["reasons"]),
    )


def _structure(program: Program, coupling: Coupling, structure: Structure) -> Row:
    item_bytes = program.weights[structure.members[0].weight].element_size()
    outer = next((s for s in coupling.structures if s.atom is structure.outer), None)
    return structure.to_json() | {
        "bytes_per_unit": structure.parameters_per_unit * item_bytes,
        "own_units_for_each": None if outer is None else outer.kind,
    }


def _refusal(axis: RefusedAxis) -> Row:
    return {
        "size": axis.size,
        "members": [_member(m) for m in axis.members],
        "reason": axis.refusal.reason,
        "node": axis.refusal.node,
        "source": axis.refusal.source,
    }


def _member(member: Member) -> str:
    return f"{member.weight}[{member.dim}]"


def _grouped(rows: Iterable[Row], key: str) -> list[list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return list(groups.values())


_NUMBERS: dict[str, Callable[[int], str]] = {
    "size": str,
    "parameters_per_unit": format_count,
    "bytes_per_unit": format_bytes,
    "kv_bytes_per_unit": format_bytes,
    "least": str,
}


def _kind(rows: Sequence[Row]) -> Row:
    """One row for the structures of a kind: how many there are, and what a unit weighs."""
    first = rows[0]
    named = ("name", "members", "own_units_for_each")
    return {
        "kind": first["kind"],
        "structures": len(rows),
        **{key: sorted({row[key] for row in rows}) for key in _NUMBERS},
        "example": {key: first[key] for key in named},
    }


def _reason(rows: Sequence[Row]) -> Row:
    first = rows[0]
    return {
        "reason": first["reason"],
        "axes": len(rows),
        "size": sorted({row["size"] for row in rows}),
        "example": {key: first[key] for key in ("members", "node", "source")},
    }


def _kind_table(model: str, document: Row) -> Table:
    sizes = document["sizes"]
    title = (
        f"{model}: {format_count(sizes['parameters'])} parameters, "
        f"{format_count(sizes['block_parameters'])} in blocks, "
        f"{format_bytes(sizes['weight_bytes'])} of weights and "
        f"{format_bytes(sizes['kv_bytes_per_token'])} of KV cache per token, at "
        f"{document['bytes_per_number']} bytes a number"
    )
    numbers = (">units in each", ">parameters a unit", ">bytes", ">cache bytes", ">least units")
    table = new_table(title, "what can be cut", ">structures", *numbers, "own units for")
    for row in document["kinds"]:
        own = row["example"]["own_units_for_each"]
        spreads = [_spread(row[key], show) for key, show in _NUMBERS.items()]
        table.add_row(row["kind"], str(row["structures"]), *spreads, f"each {own}" if own else "")
    return table


def _member_table(kinds: Sequence[Row]) -> Table:
    title = "What goes together in the first of each kind"
    table = new_table(title, "name, for --picture", "weights[dimension]")
    for row in kinds:
        example = row["example"]
        shown = [f"{m['weight']}[{m['dim']}]" for m in example["members"]]
        if row["kind"] == "layer":  # whole weights go with it
            shown = [m["weight"] for m in example["members"]]
        table.add_row(Text(example["name"]), _shortened(shown))
    return table


def _reason_table(reasons: Sequence[Row]) -> Table:
    columns = (">axes", ">sizes", "reason", "for example", "shown by")
    table = new_table("What cannot be cut, and why", *columns)
    for row in reasons:
        example = row["example"]
        place = f"{example['node']}\n{example['source']}".strip()
        cells = (_spread(row["size"]), row["reason"], _shortened(example["members"]), Text(place))
        table.add_row(str(row["axes"]), *cells)
    return table


def _spread(values: Sequence[int], show: Callable[[int], str] = str) -> str:
    least, most = show(values[0]), show(values[-1])
    return least if len(values) == 1 else f"{least} to {most}"


def _shortened(members: Sequence[str]) -> Text:
    """The first weights without the path that they share."""
    paths = [member.split(".") for member in members]
    shared = 0
    while len({tuple(path[: shared + 1]) for path in paths}) == 1 and shared + 2 < len(paths[0]):
        shared += 1
    names = [".".join(path[shared:]) for path in paths[:6]]
    more = [f"and {len(members) - 6} more"] if len(members) > 6 else []
    where = f"{'.'.join(paths[0][:shared])}: " if shared and len(members) > 1 else ""
    return Text(where + ", ".join(names + more))
