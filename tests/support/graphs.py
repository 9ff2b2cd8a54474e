"""Small random programs made directly as ATen graphs, for tests of any operator rule.

A `Recipe` is a value: a failing test prints it, and `build` makes the same program from it again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from prunec.passes.ir import Program
from support.blocks import STREAMS
from support.builder import BATCH, PAST, TOKENS, VOCABULARY, Builder


@dataclass(frozen=True)
class Recipe:
    """What one random program is made from.

    Attributes:
        stream: ``tokens`` [batch, token, width] or ``image`` [batch, channel, height, width].
        blocks: Names of the blocks in order, see `support.blocks`.
        seed: Of every choice inside the blocks, and of the weights.
        is_dynamic: Whether batch and tokens have dynamic sizes.
    """

    stream: str
    blocks: tuple[str, ...]
    seed: int
    is_dynamic: bool


@functools.lru_cache(maxsize=1024)
def build(recipe: Recipe) -> Program:
    """Make the program of a recipe; the same object for the same recipe."""
    stream = STREAMS[recipe.stream]
    builder = Builder(Random(recipe.seed), recipe.is_dynamic, width=0)
    x = stream.start(builder)
    for place, name in enumerate(recipe.blocks):
        builder.scope = f"{place}.{name}"
        x = stream.join(builder, x, stream.blocks[name])
    builder.scope = "end"
    stream.end(builder, x)
    return builder.finish()


@st.composite
def recipes(draw: st.DrawFn, stream: str = "tokens") -> Recipe:
    """Recipes for programs of one or two blocks; some with dynamic sizes, which cost far more."""
    names = st.sampled_from(sorted(STREAMS[stream].blocks))
    blocks = draw(st.lists(names, min_size=1, max_size=2))
    seed = draw(st.integers(0, 2**32 - 1))
    return Recipe(stream, tuple(blocks), seed, draw(st.integers(0, 5)) == 5)


def visit_recipes(stream: str, count: int, visit: Callable[[Recipe], None]) -> None:
    """Call a test with so many recipes, the same ones each time; shrink one that fails."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(recipe=recipes(stream))
    def check(recipe: Recipe) -> None:
        visit(recipe)

    check()


def inputs_for(program: Program, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random inputs of a program of `build`, caches with earlier tokens among them."""
    sizes: Mapping[str, int] = {
        "batch_size": BATCH,
        "sequence_length": TOKENS,
        "past_sequence_length": PAST,
        "total_sequence_length": PAST + TOKENS,
    }
    generator = torch.Generator().manual_seed(seed)
    feeds = {}
    for port in program.main.inputs:
        shape = [sizes[s] if isinstance(s, str) else s for s in port.shape]
        if port.dtype.is_floating_point:
            feeds[port.name] = torch.randn(shape, generator=generator, dtype=port.dtype)
        else:
            feeds[port.name] = torch.randint(VOCABULARY, shape, generator=generator)
    return feeds
