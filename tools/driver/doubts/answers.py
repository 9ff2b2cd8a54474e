"""Answers that are none: empty, the prompt again, or one piece over and over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prunec.driver.doubts.contradiction import Contradiction

_TIMES = 3
"""Repetitions of a piece that are no figure of speech."""
_LEAST = 12
"""Characters of an end that can be judged."""
_ALIKE = 0.95
"""The share of characters that return after a piece's length."""


def doubt_answers(answers: Sequence[Mapping[str, str]]) -> Iterator[Contradiction]:
    """Doubts about what models answered; one for each kind and model.

    Args:
        answers: Each with ``prompt``, ``before`` (dense) and ``after`` (pruned).
    """
    for key, name in (("before", "the dense model"), ("after", "the pruned model")):
        for code, told, is_doubtful in _KINDS:
            prompts = [a["prompt"] for a in answers if is_doubtful(a["prompt"], a[key])]
            if prompts:
                yield Contradiction(
                    code,
                    f"{name} {told}: {', '.join(map(repr, prompts))}",
                    {"model": name, "prompts": prompts, "of": len(answers)},
                )


def is_repeating(answer: str) -> bool:
    """Whether the second half of an answer is one piece over and over."""
    text = " ".join(answer.split())
    end = text[len(text) // 2 :]
    if len(end) < _LEAST:
        return False
    return any(_share_alike(end, piece) >= _ALIKE for piece in range(1, len(end) // _TIMES + 1))


def _share_alike(text: str, shift: int) -> float:
    pairs = list(zip(text, text[shift:], strict=False))
    return sum(a == b for a, b in pairs) / len(pairs)


def _is_empty(prompt: str, answer: str) -> bool:
    return not answer.strip()


def _is_prompt(prompt: str, answer: str) -> bool:
    return _plain(prompt) == _plain(answer) != ""


def _repeats(prompt: str, answer: str) -> bool:
    return is_repeating(answer)


def _plain(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


_KINDS = (
    ("answer-empty", "answers nothing", _is_empty),
    ("answer-is-the-prompt", "answers with the prompt", _is_prompt),
    ("answer-repeats", "repeats itself without end", _repeats),
)
