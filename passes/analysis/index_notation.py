"""What a contraction in index notation multiplies, two operands at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

Places = list[tuple[int, int]]
"""Where a letter stands: operands and their dimensions."""


@dataclass(frozen=True)
class Pair:
    """Two factors that are multiplied and summed over something.

    Attributes:
        operands: The operands that the factors are made of, in order; of the second one the last.
        batch: Places of each letter that both factors and the result have.
        matrix: Places of each letter that is summed over, or that one factor alone brings.
    """

    operands: tuple[int, ...]
    batch: tuple[Places, ...]
    matrix: tuple[Places, ...]


def pairs(equation: str, ranks: Sequence[int], path: Sequence[int] | None) -> Iterator[Pair]:
    """The sums of products of an equation, in the order in which torch computes them.

    A letter that one factor alone has and nothing reads later is summed before; a pair that sums
    over nothing is multiplied number by number and is no sum of products.

    Args:
        equation: As in ``bij,bjk->bik``.
        ranks: How many dimensions each operand has.
        path: Places of the factors of each step, as `torch.einsum` has them; the first two of
            what is left where there is none.
    """
    inputs, output = _read(equation.replace(" ", ""), ranks)
    places: dict[str, Places] = {}
    for operand, letters in enumerate(inputs):
        for dim, letter in enumerate(letters):
            places.setdefault(letter, []).append((operand, dim))
    factors: list[tuple[tuple[int, ...], set[str]]] = [
        ((operand,), set(letters)) for operand, letters in enumerate(inputs)
    ]
    steps = iter(path or ())
    while len(factors) > 1:
        first, second = sorted((next(steps, 0), next(steps, 1)))
        (b, right), (a, left) = factors.pop(second), factors.pop(first)
        later = set(output).union(*(letters for _, letters in factors))
        summed = left & right - later
        batch = left & right & later
        if summed:
            matrix = summed | ((left ^ right) & later)
            yield Pair((*a, *b), _found(places, batch, (*a, *b)), _found(places, matrix, (*a, *b)))
        factors.append(((*a, *b), (left | right) & later))


def _found(
    places: Mapping[str, Places], letters: Collection[str], operands: Collection[int]
) -> tuple[Places, ...]:
    """Where these letters stand in these operands."""
    return tuple(
        [place for place in found if place[0] in operands]
        for letter, found in places.items()
        if letter in letters
    )


def _read(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """The letters of each operand and of the result."""
    terms, arrow, result = equation.partition("->")
    inputs = [_letters(term, rank) for term, rank in zip(terms.split(","), ranks, strict=True)]
    count = Counter(letter for letters in inputs for letter in letters)
    unnamed = sorted({letter for letter in count if letter.startswith(".")})
    if arrow:
        return inputs, [*result.replace("...", ""), *(unnamed if "..." in result else ())]
    return inputs, [*unnamed, *(c for c in count if count[c] == 1 and not c.startswith("."))]


def _letters(term: str, rank: int) -> list[str]:
    """A letter for each dimension; those of an ellipsis are named by their place from its end."""
    before, _, after = term.partition("...")
    unnamed = rank - len(before) - len(after)
    return [*before, *(f".{place}" for place in range(unnamed, 0, -1)), *after]
