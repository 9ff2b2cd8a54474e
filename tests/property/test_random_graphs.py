"""The laws of the cut on generated graphs of every operator family."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from prunec.passes.analysis.coupling import Coupling, find_structures
from prunec.passes.ir import verify
from prunec.passes.ir.selection import PerUnit
from support.graphs import Recipe, build, inputs_for, visit_recipes
from support.laws import choose, require_laws

GRAPHS = {"tokens": 330, "image": 200}
# What a healthy generator and analysis offer at least, in so many graphs. Measured: about twice.
LEAST = {
    "tokens": {
        "offering": 280,
        "ffn-channel": 180,
        "residual": 130,
        "layer": 200,
        "head": 30,
        "kv-group": 10,
        "query-head-in-group": 10,
        "qk-dim": 40,
        "vo-dim": 35,
        "kv-latent": 10,
        "expert": 12,
        "expert-channel": 12,
        "conv-channel": 5,
        "cut by outer units": 20,
        "with dynamic sizes": 15,
    },
    "image": {"offering": 190, "conv-channel": 150, "residual": 100, "layer": 120, "qk-dim": 20},
}


@pytest.mark.parametrize("stream", GRAPHS)
def test_every_law_holds_on_generated_graphs(stream: str) -> None:
    seen: Counter[str] = Counter()

    def check(recipe: Recipe) -> None:
        seen["graphs"] += 1
        seen["with dynamic sizes"] += recipe.is_dynamic
        require_laws_on(recipe, seen)

    visit_recipes(stream, GRAPHS[stream], check)
    assert seen["graphs"] >= GRAPHS[stream]
    short = {what: seen[what] for what, least in LEAST[stream].items() if seen[what] < least}
    assert not short, f"too few of {short} in {seen}"


def require_laws_on(recipe: Recipe, seen: Counter[str]) -> None:
    program = build(recipe)
    verify(program)
    coupling = find_structures(program)
    require_reasons(coupling)
    if not coupling.structures:
        return
    random = Random(recipe.seed)
    selection = choose(coupling.structures, random)
    seen.update({"offering", *(s.kind for s in coupling.structures)})
    seen["cut by outer units"] += any(isinstance(k, PerUnit) for k in selection.values())
    require_laws(program, coupling, selection, inputs_for(program), random)


def require_reasons(coupling: Coupling) -> None:
    for refused in coupling.refusals:
        assert refused.refusal.reason
        assert refused.refusal.node
        assert refused.members
