import itertools

import pytest
import torch

from prunec.backends.measure.choices import accuracy, compare_accuracy
from prunec.backends.measure.questions import Question, QuestionError
from prunec.backends.torch.runner import TorchRunner
from support.models import small_program
from support.runners import BigramRunner, CharacterTokenizer, random_table

# Sums of a few dozen float32 logarithms of order ten.
ROUNDING = 1e-4
QUESTIONS = [
    Question("0", "Water is", ("wet", "dry as a bone"), 0),
    Question("1", "A", ("bc", "de", "fgh", "ijklm"), 2),
    Question("2", "The cup did not fit the ", ("box", "bag"), 1, suffix="was small."),
    Question("3", "", ("Red", "Blue"), 1, suffix="is a colour."),
]


def by_hand(table: torch.Tensor, context: str, continuation: str) -> float:
    """The sum over the continuation's characters, the token 1 before everything."""
    scores = table.double().log_softmax(-1)
    tokens = [1, *(ord(c) for c in context + continuation)]
    pairs = list(itertools.pairwise(tokens))[-len(continuation) :]
    return sum(scores[a, b].item() for a, b in pairs)


def test_log_likelihoods_are_those_of_the_continuation_alone() -> None:
    table = random_table()
    found = accuracy(BigramRunner(table), CharacterTokenizer(), QUESTIONS)
    expected = [
        [by_hand(table, "Water is", " wet"), by_hand(table, "Water is", " dry as a bone")],
        [by_hand(table, "A", f" {c}") for c in QUESTIONS[1].choices],
        [by_hand(table, f"the {c}", " was small.") for c in ("box", "bag")],
        [by_hand(table, c, " is a colour.") for c in ("Red", "Blue")],
    ]
    for answer, scores in zip(found.answers, expected, strict=True):
        assert answer.log_likelihoods == pytest.approx(scores, abs=ROUNDING)
        assert answer.by_sum == scores.index(max(scores))


def test_normalised_accuracy_divides_by_the_characters_of_the_choice() -> None:
    table = torch.zeros(128, 128)  # every token costs the same: the shortest answer wins by sum
    questions = [Question("0", "Q", ("ab", "abcdefgh"), 1)]
    found = accuracy(BigramRunner(table), CharacterTokenizer(), questions)
    assert found.answers[0].by_sum == 0
    # The blank before a choice costs a token and is no character of it: the longer one wins.
    assert found.answers[0].by_character == 1
    assert (found.acc, found.acc_norm) == (0.0, 1.0)


def test_blanks_that_end_a_context_belong_to_the_continuation() -> None:
    table = random_table()
    question = Question("0", "Say it:  ", ("yes", "no"), 0)
    found = accuracy(BigramRunner(table), CharacterTokenizer(), [question])
    expected = [by_hand(table, "Say it:", f"   {c}") for c in ("yes", "no")]
    assert found.answers[0].log_likelihoods == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize(("start", "first"), [(1, 1), (None, 2)])
def test_an_empty_context_is_the_token_that_begins_a_text(start: int | None, first: int) -> None:
    table = random_table()
    tokenizer = CharacterTokenizer()
    tokenizer.bos_token_id = start
    found = accuracy(BigramRunner(table), tokenizer, [Question("0", "", ("x", "y"), 0)])
    scores = table.double().log_softmax(-1)
    expected = [scores[first, 32].item() + scores[32, ord(c)].item() for c in "xy"]
    assert found.answers[0].log_likelihoods == pytest.approx(expected, abs=ROUNDING)


def test_padding_in_a_batch_changes_no_answer_of_a_real_model() -> None:
    runner = TorchRunner(small_program())
    together = accuracy(runner, CharacterTokenizer(), QUESTIONS)
    for question, answer in zip(QUESTIONS, together.answers, strict=True):
        for index, (context, continuation) in enumerate(question.pairs()):
            tokens = torch.tensor([[1, *(ord(c) for c in context + continuation)]])
            logits, _ = runner.step(tokens, torch.ones_like(tokens), None)
            scores = logits[0, :-1].double().log_softmax(-1).gather(-1, tokens[0, 1:, None])
            counted = len(continuation) + len(context) - len(context.rstrip())
            alone = scores[-counted:].sum().item()
            assert answer.log_likelihoods[index] == pytest.approx(alone, abs=ROUNDING)


def test_batches_hold_many_short_rows_and_few_long_ones() -> None:
    runner = BigramRunner(random_table())
    questions = [Question("long", "x" * 600, ("a", "b"), 0)]
    questions += [Question(str(i), "x" * 90, ("a", "b"), 0) for i in range(20)]
    accuracy(runner, CharacterTokenizer(), questions)
    assert runner.rows == [1, 1, *[11] * 3, 7]


def test_accuracy_and_its_error_count_right_answers() -> None:
    table = torch.zeros(128, 128)
    table[ord(" "), ord("a")] = 5.0  # after a blank, "a" is likeliest
    questions = [Question(str(i), "Q", ("a", "b"), int(i >= 3)) for i in range(4)]
    found = accuracy(BigramRunner(table), CharacterTokenizer(), questions)
    assert found.acc == 0.75
    assert found.acc_stderr == pytest.approx((0.75 * 0.25 / 3) ** 0.5)
    assert found.to_json()["answers"][3]["gold"] == 1


def test_two_runners_are_compared_question_by_question() -> None:
    tables = [torch.zeros(128, 128) for _ in range(2)]
    tables[0][32, ord("a")] = 5.0
    tables[1][32, ord("b")] = 5.0
    questions = [Question(str(i), "Q", ("a", "b"), int(i >= 3)) for i in range(4)]
    first, second = (
        accuracy(BigramRunner(table), CharacterTokenizer(), questions) for table in tables
    )
    found = compare_accuracy(first, second, normalised=False)
    assert (found.difference, found.only_first, found.only_second) == (0.5, 3, 1)
    assert found.stderr == pytest.approx(0.5)  # of 1, 1, 1, -1: deviation 1, root of 4
    assert compare_accuracy(first, first, normalised=True).difference == 0


def test_answers_to_other_questions_are_not_compared() -> None:
    runner = BigramRunner(random_table())
    first, second = (accuracy(runner, CharacterTokenizer(), q) for q in (QUESTIONS, QUESTIONS[1:]))
    with pytest.raises(QuestionError, match="4 and 3 answers"):
        compare_accuracy(first, second, normalised=True)
