"""Compare what a runner writes with what a reference writes after the same prompts."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prunec.backends.measure.answers import (
    Prompt,
    answer,
    answer_text,
    build_prompt,
    read_answers,
    write_answers,
)
from prunec.backends.measure.likelihood import Progress, mean_and_stderr, silent
from prunec.backends.measure.overlap import rouge_l, token_agreement, token_f1
from prunec.backends.measure.samples import Sample
from prunec.backends.runner import Runner

MAX_PROMPT_TOKENS = 1024


@dataclass(frozen=True)
class ItemQuality:
    """One answer beside the reference's.

    Attributes:
        id: Of the sample.
        prompt_tokens: Tokens of the prompt that both were given.
        cut_tokens: Tokens that were cut from its start before that.
        new_tokens: Tokens of the answer.
        rouge_l: Of the two texts, 0-1.
        f1: Of the two texts, 0-1.
        token_agreement: The share of positions with the same token.
        first_divergence: The first position with another token; None where all are the same.
    """

    id: str
    prompt_tokens: int
    cut_tokens: int
    new_tokens: int
    rouge_l: float
    f1: float
    token_agreement: float
    first_divergence: int | None


@dataclass(frozen=True)
class GenerationQuality:
    """How near a runner's answers to one task are to those of the reference.

    Attributes:
        task: The task.
        runner: The runner's name.
        reference: The reference's name.
        samples: How many prompts.
        cut_prompts: How many of them were longer than `max_prompt_tokens`: their start was cut.
        max_prompt_tokens: The most tokens of a prompt; its end is what stays.
        new_tokens: The most tokens of an answer, unless the sample wants fewer.
        rouge_l: Mean over the samples, 0-1.
        rouge_l_stderr: Its standard error.
        f1: Mean over the samples, 0-1.
        f1_stderr: Its standard error.
        token_agreement: Mean share of positions with the same token.
        token_agreement_stderr: Its standard error.
        same_answers: The share of samples whose every token is the same.
        median_same_tokens: How many tokens are the same before the first that differs.
        items: Sample by sample.
    """

    task: str
    runner: str
    reference: str
    samples: int
    cut_prompts: int
    max_prompt_tokens: int
    new_tokens: int
    rouge_l: float
    rouge_l_stderr: float | None
    f1: float
    f1_stderr: float | None
    token_agreement: float
    token_agreement_stderr: float | None
    same_answers: float
    median_same_tokens: float
    items: tuple[ItemQuality, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values under the attributes' names."""
        return asdict(self)


def measure_generation(
    runner: Runner,
    reference: Runner,
    tokenizer: Any,
    samples: Sequence[Sample],
    new_tokens: int,
    *,
    max_prompt_tokens: int = MAX_PROMPT_TOKENS,
    stored: Path | None = None,
    progress: Progress = silent,
) -> dict[str, GenerationQuality]:
    """Let both runners answer greedily, one prompt at a time, and compare answer by answer.

    An answer ends at the end token, after a stop string of its sample, or at its most tokens.

    Args:
        runner: What is in question.
        reference: Whose answers are taken as right, usually the dense model.
        tokenizer: Of transformers; of both models.
        samples: See `prunec.backends.measure.samples.read_samples`.
        new_tokens: The most tokens of an answer, unless the sample wants fewer.
        max_prompt_tokens: Of longer prompts the start is cut.
        stored: A JSON file that keeps the reference's answers, so that they are made once and an
            interrupted run goes on. It must be the reference's alone.
        progress: Shows the samples.

    Returns:
        A result for each task, in the order in which they first appear.

    Raises:
        SampleError: `stored` is not a file of answers.
        ValueError: a limit is below 1.
    """
    if min(new_tokens, max_prompt_tokens) < 1:
        raise ValueError(
            f"new_tokens is {new_tokens} and max_prompt_tokens is {max_prompt_tokens}: "
            "at least 1 is needed"
        )
    answers = read_answers(stored)
    found: dict[str, list[ItemQuality]] = {}
    for sample in progress(samples, "comparing answers", len(samples)):
        prompt = build_prompt(tokenizer, sample, new_tokens, max_prompt_tokens)
        if prompt.key not in answers:
            answers[prompt.key] = answer(reference, tokenizer, prompt)
            write_answers(stored, answers)
        item = _compare(tokenizer, prompt, answer(runner, tokenizer, prompt), answers[prompt.key])
        found.setdefault(sample.task, []).append(item)
    return {
        task: _summary(task, (runner, reference), (new_tokens, max_prompt_tokens), items)
        for task, items in found.items()
    }


def _compare(
    tokenizer: Any, prompt: Prompt, found: Sequence[int], wanted: Sequence[int]
) -> ItemQuality:
    texts = [answer_text(tokenizer, prompt, tokens) for tokens in (found, wanted)]
    same = token_agreement(found, wanted)
    return ItemQuality(
        id=prompt.sample.id,
        prompt_tokens=len(prompt.tokens),
        cut_tokens=prompt.cut_tokens,
        new_tokens=len(found),
        rouge_l=rouge_l(*texts),
        f1=token_f1(*texts),
        token_agreement=same.share,
        first_divergence=same.first_divergence,
    )


def _summary(
    task: str,
    runners: tuple[Runner, Runner],
    limits: tuple[int, int],
    items: Sequence[ItemQuality],
) -> GenerationQuality:
    rouge, rouge_stderr = mean_and_stderr([i.rouge_l for i in items])
    f1, f1_stderr = mean_and_stderr([i.f1 for i in items])
    same, same_stderr = mean_and_stderr([i.token_agreement for i in items])
    return GenerationQuality(
        task=task,
        runner=runners[0].name,
        reference=runners[1].name,
        samples=len(items),
        cut_prompts=sum(i.cut_tokens > 0 for i in items),
        max_prompt_tokens=limits[1],
        new_tokens=limits[0],
        rouge_l=rouge,
        rouge_l_stderr=rouge_stderr,
        f1=f1,
        f1_stderr=f1_stderr,
        token_agreement=same,
        token_agreement_stderr=same_stderr,
        same_answers=sum(i.first_divergence is None for i in items) / len(items),
        median_same_tokens=statistics.median(_same_tokens(items)),
        items=tuple(items),
    )


def _same_tokens(items: Sequence[ItemQuality]) -> Iterator[int]:
    for item in items:
        yield item.new_tokens if item.first_divergence is None else item.first_divergence
