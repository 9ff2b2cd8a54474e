"""How many units of each structure are chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.contract import PassError, explained
from prunec.passes.ir import Program
from prunec.passes.ir.selection import Selection, kept_count
from prunec.passes.plan import Plan, PlanError

aten = torch.ops.aten

KIND = "ffn-channel"


def require_structures(
    program: Program, coupling: Coupling, notice: Callable[[str], None]
) -> list[Structure]:
    """The structures whose units can be chosen: those of feed-forwards.

    Args:
        program: With one entry point.
        coupling: Found in it.
        notice: Is told which other structures of the kind are left whole.

    Raises:
        PassError: there is none; says which kinds there are.
    """
    tables = {name for node, name in program.main.weight_nodes() if _is_looked_up(node)}
    found = []
    for structure in coupling.of_kind(KIND):
        if tables.isdisjoint(member.weight for member in structure.members):
            found.append(structure)
        else:
            notice(f"{structure.name} stays whole: it is the width of a table of embeddings")
    if found:
        return found
    there = sorted({s.kind for s in coupling.structures}) or ["no structure at all"]
    why = (
        ". The channels of experts (expert-channel) are left alone: a token reads the few experts "
        "that it is routed to, so a prompt says little about most of them"
        if "expert-channel" in there
        else ""
    )
    raise PassError(f"no feed-forward of the kind {KIND}; this program has {there}{why}")


def _is_looked_up(weight: Node) -> bool:
    return any(user.target is aten.embedding.default for user in weight.users)


def uniform_counts(
    structures: Sequence[Structure], keep: float, multiple: int
) -> list[tuple[Structure, int]]:
    """The same share of every structure, rounded down to a multiple and at least one of it.

    Raises:
        PassError: a structure is smaller than the multiple.
    """
    return [(s, _uniform_count(s, keep, multiple)) for s in structures]


def _uniform_count(structure: Structure, keep: float, multiple: int) -> int:
    if keep == 1:
        return structure.size
    if structure.size < multiple:
        raise PassError(
            f"{structure.name} has {structure.size} units, so no multiple of {multiple} of them "
            f"can be chosen: set multiple to at most {structure.size}"
        )
    wanted = int(structure.size * keep + 1e-9)  # 0.7 of 10 is 7, however 0.7 is rounded
    return max(multiple, wanted // multiple * multiple)


def planned_counts(
    program: Program,
    coupling: Coupling,
    structures: Sequence[Structure],
    plan: Plan | None,
    multiple: int,
) -> list[tuple[Structure, int]]:
    """As many units as a plan leaves of each structure.

    Raises:
        PassError: there is no plan, it does not fit, it cuts other kinds as well, or it leaves a
            number of units that is no multiple.
    """
    selection = planned_units(program, coupling, plan)
    result = []
    for structure in structures:
        chosen = selection.get(structure.atom)
        count = structure.size if chosen is None else kept_count(chosen)
        if count < structure.size and (count % multiple or not count):
            raise PassError(
                f"the plan leaves {count} of {structure.size} units of {structure.name}, which is "
                f"no positive multiple of {multiple}: set multiple here as in allocate"
            )
        result.append((structure, count))
    return result


def planned_units(program: Program, coupling: Coupling, plan: Plan | None) -> Selection:
    """The units that a plan leaves of feed-forward structures.

    Raises:
        PassError: see `planned_counts`.
    """
    if plan is None:
        raise PassError(
            "rates=plan needs a plan: put allocate{kinds=ffn-channel} before select-experts, and "
            "nothing that cuts between them"
        )
    with explained(PlanError, "rates=plan"):
        selection = plan.selection(program, coupling)
    others = sorted({s.kind for s in coupling.structures if s.atom in selection} - {KIND})
    if others:
        raise PassError(
            f"the plan cuts {others} too, which cannot be chosen by a prompt: carry it out with "
            f"remove-structures first, then allocate{{kinds={KIND}}} for the choice"
        )
    return selection
