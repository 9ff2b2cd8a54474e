from __future__ import annotations

import pytest

from prunec.driver.doubts.answers import doubt_answers, is_repeating

LOOPS = [
    "the the the the the the the the the the the the",
    "I like cats. I like cats. I like cats. I like cats. I like cats. I like cats.",
    "Paris is the capital. It is a city.\nIt is a city.\nIt is a city.\nIt is a city.\nIt is a c",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\u56db\u5b63" * 20,
]
SOUND = [
    "Paris.",
    "",
    "The capital of France is a capital of France.",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20",
    "Leaves change colour in autumn because the days grow shorter and colder, and the green "
    "pigment that the tree feeds on, chlorophyll, is broken down and not made again.",
    "The sea is wide and the sea is deep. The sea is where the old ships sleep.",
]


@pytest.mark.parametrize("answer", LOOPS)
def test_one_piece_over_and_over_is_no_answer(answer: str) -> None:
    assert is_repeating(answer)


@pytest.mark.parametrize("answer", SOUND)
def test_an_answer_is_none(answer: str) -> None:
    assert not is_repeating(answer)


def test_doubts_name_the_model_the_kind_and_the_prompts() -> None:
    answers = [
        {"prompt": "What is it?", "before": "A cat.", "after": "what is it"},
        {"prompt": "Who?", "before": " ", "after": LOOPS[0]},
        {"prompt": "Where?", "before": "Here.", "after": ""},
    ]
    found = list(doubt_answers(answers))
    assert [(d.code, d.numbers["model"], d.numbers["prompts"]) for d in found] == [
        ("answer-empty", "the dense model", ["Who?"]),
        ("answer-empty", "the pruned model", ["Where?"]),
        ("answer-is-the-prompt", "the pruned model", ["What is it?"]),
        ("answer-repeats", "the pruned model", ["Who?"]),
    ]
    assert found[-1].message == "the pruned model repeats itself without end: 'Who?'"
    assert not list(doubt_answers([{"prompt": "Who?", "before": "He.", "after": "She."}]))
