"""Laws 1 to 4 on small random graphs of every operator family, in float64."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from prunec.passes.analysis.coupling import Structure, find_structures
from support.blocks import STREAMS
from support.graphs import Recipe, build, inputs_for
from support.laws import choose, require_laws

GRAPHS = 500
PORTIONS = 10  # one test each, so that a failure does not hide the others
KINDS_OF_STREAM = ("tokens", "tokens", "tokens", "image")


def random_recipe(random: Random) -> Recipe:
    stream = random.choice(KINDS_OF_STREAM)
    blocks = tuple(random.choices(sorted(STREAMS[stream].blocks), k=random.randint(1, 2)))
    return Recipe(stream, blocks, random.getrandbits(32), random.random() < 0.5)


def is_linear(structure: Structure) -> bool:
    """Whether its bill is: no weight carries it in two dimensions."""
    weights = Counter(member.weight for member in structure.members)
    return structure.kind == "layer" or max(weights.values()) == 1


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_laws_hold_on_random_graphs(portion: int) -> None:
    random = Random(portion)
    with_structures = 0
    for _ in range(GRAPHS // PORTIONS):
        recipe = random_recipe(random)
        program = build(recipe)
        coupling = find_structures(program)
        for refused in coupling.refusals:
            assert refused.refusal.reason, recipe
            assert refused.refusal.node, recipe
        # Two branches of a stream that is cut to one unit are no longer seen as one stream.
        structures = [s for s in coupling.structures if is_linear(s) and s.kind != "layer"]
        if structures:
            with_structures += 1
            selection = choose(structures, random)
            try:
                require_laws(program, coupling, selection, inputs_for(program), random)
            except Exception as error:
                error.add_note(f"{recipe}, portion {portion}")
                raise
    assert with_structures > 0.8 * GRAPHS / PORTIONS
