"""Sizes as polynomials in how many units stay of each axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prunec.passes.ir.axes import Atom, Axis, Concat, resolve

Monomial = tuple[int, ...]
"""The places of the axes that are multiplied, ascending; of one that counts twice, twice."""
Polynomial = Counter[Monomial]
"""Each product of counts with its factor."""


def kept_positions(axis: Axis, places: Mapping[Atom, int]) -> Polynomial:
    """How many positions of an axis stay, as a function of the counts of its atoms."""
    axis = resolve(axis)
    if isinstance(axis, Atom):
        return Counter({(places[axis],): 1} if axis in places else {(): axis.size})
    parts = [kept_positions(part, places) for part in axis.parts]
    if isinstance(axis, Concat):
        return Counter(sum(parts, Counter[Monomial]()))
    return multiply(parts)


def multiply(factors: Iterable[Polynomial]) -> Polynomial:
    """The product of polynomials."""
    result: Polynomial = Counter({(): 1})
    for factor in factors:
        terms: Polynomial = Counter()
        for a, x in result.items():
            for b, y in factor.items():
                terms[tuple(sorted(a + b))] += x * y
        result = terms
    return result


@dataclass(frozen=True, eq=False)
class Polynomials:
    """Many polynomials over the same counts, evaluated at once.

    Attributes:
        factors: [polynomials, monomials], int64.
        powers: [monomials, most axes in one]: places of axes; `count` where there are fewer.
        count: How many axes there are.
    """

    factors: npt.NDArray[np.int64]
    powers: npt.NDArray[np.int64]
    count: int

    @classmethod
    def of(cls, polynomials: Sequence[Polynomial], count: int) -> Polynomials:
        """Line up these polynomials over `count` axes."""
        monomials = sorted({m for p in polynomials for m in p})
        row = {m: place for place, m in enumerate(monomials)}
        factors = np.zeros((len(polynomials), len(monomials)), dtype=np.int64)
        for place, polynomial in enumerate(polynomials):
            for monomial, factor in polynomial.items():
                factors[place, row[monomial]] += factor
        powers = np.full((len(monomials), max(map(len, monomials), default=0)), count)
        for place, monomial in enumerate(monomials):
            powers[place, : len(monomial)] = monomial
        return cls(factors, powers, count)

    def combined(self, weights: npt.NDArray[np.int64]) -> Polynomials:
        """Sums of these polynomials: weights [sums, polynomials]."""
        return Polynomials(weights @ self.factors, self.powers, self.count)

    def at(self, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The value of each polynomial for these counts [axes]."""
        values = np.append(counts, 1)[self.powers].prod(axis=1)
        return self.factors @ values
