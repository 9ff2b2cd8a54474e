"""Cut programs with what their repair needs."""

from __future__ import annotations

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, CutRecord
from prunec.passes.ir import Program
from prunec.passes.plan import Cut, Plan
from prunec.passes.surgery import cut_program
from support.models import random_tokens

TOKENS = random_tokens(8, 48) % 64  # the least vocabulary of the models that are cut


def cut(program: Program, kind: str, keep: slice) -> tuple[Program, Context]:
    """The program without some units of every structure of a kind, and what its repair needs."""
    coupling = find_structures(program)
    cuts = tuple(
        Cut(s.name, s.kind, s.index, s.size, tuple(range(s.size))[keep])
        for s in coupling.of_kind(kind)
    )
    plan = Plan(cuts, program.fingerprint())
    after = cut_program(program, coupling, plan.selection(program, coupling))
    return after, after_cut(program, after, plan)


def after_cut(program: Program, after: Program, plan: Plan) -> Context:
    """What the repair of a program's first cut needs."""
    return Context(TOKENS, teacher=program, plan=plan, cut=CutRecord(program, after, plan))
