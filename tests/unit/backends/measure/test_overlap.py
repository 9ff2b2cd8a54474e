import pytest

from prunec.backends.measure import rouge_l, token_agreement, token_f1


@pytest.mark.parametrize(
    ("found", "wanted", "score"),
    [
        ("police killed the gunman", "police kill the gunman", 0.75),  # Lin 2004, section 3.1
        ("the gunman kill police", "police kill the gunman", 0.5),
        ("Same, words!", "same words", 1),
        ("a b c", "x a y b z", 2 * 2 / (3 + 5)),
        ("nothing", "common", 0),
        ("", "word", 0),
        ("?", "", 1),
    ],
)
def test_rouge_l_is_that_of_the_longest_common_subsequence(
    found: str, wanted: str, score: float
) -> None:
    assert rouge_l(found, wanted) == pytest.approx(score)
    assert rouge_l(wanted, found) == pytest.approx(score)


@pytest.mark.parametrize(
    ("found", "wanted", "score"),
    [
        ("The cat.", "a CAT", 1),
        ("cat dog cat", "dog cat", 2 * 2 / 5),  # a word counts as often as both have it
        ("dog cat", "cat dog", 1),
        ("U.S. army", "us army", 1),
        ("the", "", 1),
        ("the", "cat", 0),
    ],
)
def test_f1_counts_words_without_case_punctuation_and_articles(
    found: str, wanted: str, score: float
) -> None:
    assert token_f1(found, wanted) == pytest.approx(score)


@pytest.mark.parametrize(
    ("found", "wanted", "share", "first"),
    [
        ([1, 2, 3], [1, 2, 3], 1, None),
        ([1, 9, 3], [1, 2, 3], 2 / 3, 1),
        ([1, 2], [1, 2, 3, 4], 0.5, 2),
        ([1, 2, 3, 4], [1, 2], 0.5, 2),
        ([], [1], 0, 0),
    ],
)
def test_tokens_are_compared_position_by_position(
    found: list[int], wanted: list[int], share: float, first: int | None
) -> None:
    same = token_agreement(found, wanted)
    assert (same.share, same.first_divergence) == (pytest.approx(share), first)
