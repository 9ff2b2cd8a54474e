"""Programs of a few nodes around the operator that a test is about."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir import Program, Role
from support.builder import Builder, aten
from support.graphs import inputs_for
from support.laws import choose_units
from support.oracle import law_error

ROWS = 10

Step = Callable[[Builder, Node], Node]
"""From [10, 8] to [10, after]."""


def through(step: Step, after: int = 8) -> Program:
    """Features go up to eight channels, through a step, and down again."""
    b = Builder(Random(0), is_dynamic=False, width=6)
    x = b.add_input("features", Role.OTHER, (ROWS, 6), torch.float64)
    h = step(b, b.call(aten.linear.default, x, b.parameter("up", 8, 6)))
    y = b.call(aten.linear.default, h, b.parameter("down", 5, after))
    b.add_output("y", y, Role.OTHER, (ROWS, 5))
    return b.finish()


def offered(program: Program) -> list[tuple[str, int]]:
    """Kind and size of every structure, sorted."""
    return sorted((s.kind, s.size) for s in find_structures(program).structures)


def reasons(program: Program, weight: str, dim: int) -> list[str]:
    """Why parts of a weight's dimension cannot be cut."""
    return [
        refused.refusal.reason
        for refused in find_structures(program).refusals
        if any((member.weight, member.dim) == (weight, dim) for member in refused.members)
    ]


def largest_law_error(program: Program) -> float:
    """The largest difference between a cut and the mask, over a few cuts of each structure."""
    coupling = find_structures(program)
    feeds = inputs_for(program)
    selections = [
        {structure.atom: choose_units(structure, Random(seed))}
        for structure in coupling.structures
        for seed in range(4)
    ]
    selections.append({s.atom: choose_units(s, Random(4)) for s in coupling.structures})
    return max(law_error(program, coupling, chosen, feeds) for chosen in selections)
