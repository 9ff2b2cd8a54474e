"""Multiple choice: which continuation of a question does a runner find likeliest?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from prunec.backends.measure.likelihood import (
    BATCH_TOKENS,
    Progress,
    mean_and_stderr,
    silent,
    token_nll,
)
from prunec.backends.measure.questions import Question, QuestionError
from prunec.backends.measure.versions import versions
from prunec.backends.runner import Runner


@dataclass(frozen=True)
class Answer:
    """What a runner answered to one question.

    Attributes:
        id: Of the question.
        gold: The index of the right choice.
        log_likelihoods: Of each choice, in nats.
        by_sum: The choice with the greatest log-likelihood.
        by_character: The same with each divided by the characters of the choice.
    """

    id: str
    gold: int
    log_likelihoods: tuple[float, ...]
    by_sum: int
    by_character: int


@dataclass(frozen=True)
class Accuracy:
    """How often a runner chose right.

    Attributes:
        runner: The runner's name.
        acc: The share of questions answered right by the sum of log-likelihoods.
        acc_stderr: Its standard error.
        acc_norm: The same, log-likelihoods divided by characters.
        acc_norm_stderr: Its standard error.
        answers: Question by question.
        seconds: Wall time.
        versions: What it was measured with.
    """

    runner: str
    acc: float
    acc_stderr: float | None
    acc_norm: float
    acc_norm_stderr: float | None
    answers: tuple[Answer, ...]
    seconds: float
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_json(self) -> dict[str, Any]:
        """JSON values under the attributes' names."""
        return asdict(self)


@dataclass(frozen=True)
class PairedAccuracy:
    """The difference between two runners on the same questions.

    Attributes:
        difference: Accuracy of the first less that of the second.
        stderr: Its standard error, from the differences question by question.
        only_first: Questions that the first alone answered right.
        only_second: Questions that the second alone answered right.
    """

    difference: float
    stderr: float | None
    only_first: int
    only_second: int


def accuracy(
    runner: Runner, tokenizer: Any, questions: Sequence[Question], *, progress: Progress = silent
) -> Accuracy:
    """Answer multiple-choice questions as the lm-evaluation-harness does, with no examples.

    Args:
        runner: The model.
        tokenizer: Of transformers.
        questions: See `prunec.backends.measure.questions.read_questions`.
        progress: Shows the batches.
    """
    started = time.perf_counter()
    pairs = [_encode(tokenizer, *pair) for q in questions for pair in q.pairs()]
    found = iter(_log_likelihoods(runner, pairs, progress))
    answers = tuple(_answer(q, [next(found) for _ in q.choices]) for q in questions)
    acc, acc_stderr = mean_and_stderr([float(a.by_sum == a.gold) for a in answers])
    norm, norm_stderr = mean_and_stderr([float(a.by_character == a.gold) for a in answers])
    seconds = time.perf_counter() - started
    return Accuracy(runner.name, acc, acc_stderr, norm, norm_stderr, answers, seconds)


def compare_accuracy(first: Accuracy, second: Accuracy, *, normalised: bool) -> PairedAccuracy:
    """Compare question by question, by characters where `normalised`, else by sums.

    Raises:
        QuestionError: the two did not answer the same questions.
    """
    if [a.id for a in first.answers] != [a.id for a in second.answers]:
        raise QuestionError(
            f"{len(first.answers)} and {len(second.answers)} answers are not to the same questions"
        )
    kind = "by_character" if normalised else "by_sum"
    right = [[getattr(a, kind) == a.gold for a in r.answers] for r in (first, second)]
    differences = [int(a) - int(b) for a, b in zip(*right, strict=True)]
    difference, stderr = mean_and_stderr([float(d) for d in differences])
    return PairedAccuracy(difference, stderr, differences.count(1), differences.count(-1))


def _answer(question: Question, scores: Sequence[float]) -> Answer:
    normed = [score / n for score, n in zip(scores, question.lengths(), strict=True)]
    return Answer(
        id=question.id,
        gold=question.gold,
        log_likelihoods=tuple(scores),
        by_sum=scores.index(max(scores)),
        by_character=normed.index(max(normed)),
    )


def _encode(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], int]:
    """All tokens, and how many at their end are the continuation.

    Blanks that end the context go to the continuation, where a token can begin with them; what
    the context alone is not made of is then the continuation.
    """
    blanks = len(context) - len(context.rstrip())
    if blanks:
        context, continuation = context[:-blanks], context[-blanks:] + continuation
    if not context:
        start = tokenizer.bos_token_id
        start = tokenizer.eos_token_id if start is None else start
        tokens = tokenizer(continuation, add_special_tokens=False)["input_ids"]
        return [start, *tokens], len(tokens)
    tokens = tokenizer(context + continuation)["input_ids"]
    return tokens, len(tokens) - len(tokenizer(context)["input_ids"])


def _log_likelihoods(
    runner: Runner, pairs: Sequence[tuple[list[int], int]], progress: Progress
) -> list[float]:
    """The log-likelihood of each continuation, longest rows first so that memory fails early."""
    order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i][0]))
    batches = _batches(order, [len(tokens) for tokens, _ in pairs])
    found = [0.0] * len(pairs)
    for batch in progress(batches, "answering questions", len(batches)):
        for index, score in zip(batch, _score(runner, [pairs[i] for i in batch]), strict=True):
            found[index] = score
    return found


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Neighbours of falling length, padded to the longest, under the limit of tokens."""
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= BATCH_TOKENS:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _score(runner: Runner, pairs: Sequence[tuple[list[int], int]]) -> list[float]:
    longest = max(len(tokens) for tokens, _ in pairs)
    padded = torch.tensor([[0] * (longest - len(t)) + t for t, _ in pairs])
    mask = torch.tensor([[0] * (longest - len(t)) + [1] * len(t) for t, _ in pairs])
    logits, _ = runner.step(padded, mask, None)
    scored = max(count for _, count in pairs)
    nll = token_nll(logits[:, -scored - 1 : -1], padded[:, -scored:])
    return [-nll[row, -count:].double().sum().item() for row, (_, count) in enumerate(pairs)]
