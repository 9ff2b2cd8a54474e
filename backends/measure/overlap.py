"""How much of one text is in another, by words and by tokens."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[a-z0-9]+")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class TokenAgreement:
    """How far two texts are the same, token by token.

    Attributes:
        share: Positions with the same token over the length of the longer text.
        first_divergence: The first position at which they differ or one has ended; None where
            they are equal.
    """

    share: float
    first_divergence: int | None


def rouge_l(found: str, wanted: str) -> float:
    """ROUGE-L as an F1 score: the longest common subsequence of lower-case words.

    Words are runs of letters and digits without stemming, as in the package rouge-score. Two
    texts without words are equal: 1; where only one has none it is 0.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", eq. 2-4 with
    beta 1.

    >>> round(rouge_l("the cat sat", "The cat has sat."), 3)
    0.857
    """
    words = [_WORD.findall(text.lower()) for text in (found, wanted)]
    return _f1(_common_subsequence(*words), *map(len, words))


def token_f1(found: str, wanted: str) -> float:
    """F1 over the bags of words, without case, punctuation and articles.

    Source: Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1, with the normalisation of its
    evaluation script. Two texts without words are equal: 1.

    >>> token_f1("The cat!", "a cat")
    1.0
    """
    bags = [Counter(_normalised(text)) for text in (found, wanted)]
    return _f1((bags[0] & bags[1]).total(), *(bag.total() for bag in bags))


def token_agreement(found: Sequence[int], wanted: Sequence[int]) -> TokenAgreement:
    """Compare two texts of tokens, of which at least one is not empty, position by position."""
    same = [a == b for a, b in zip(found, wanted, strict=False)]
    longest = max(len(found), len(wanted))
    prefix = same.index(False) if False in same else len(same)
    return TokenAgreement(sum(same) / longest, None if prefix == longest else prefix)


def _normalised(text: str) -> list[str]:
    return _ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _f1(common: int, found: int, wanted: int) -> float:
    """From the count of what is common and the counts of what either text has."""
    if found == wanted == 0:
        return 1.0
    return 2 * common / (found + wanted)


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest one, row by row of the usual table."""
    above = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for place, other in enumerate(second):
            row.append(above[place] + 1 if word == other else max(above[place + 1], row[place]))
        above = row
    return above[-1]
