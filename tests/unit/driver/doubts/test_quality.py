"""Doubts about quality, beside numbers of really pruned models that raise none."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from prunec.backends.measure import agreement
from prunec.backends.torch import TorchRunner
from prunec.driver.doubts import doubt_measured
from prunec.driver.formats import format_json
from prunec.frontend.calibration import Author, CalibrationSpec, calibration_tokens
from support.models import small_program
from support.runners import CharacterTokenizer

VOCABULARY = 49_152
OWN = {"source": "self", "written": {"nll": math.log(6), "known_share": 0.99}}


def figures(dense: float, other: float, kl: float, same: float, **more: Any) -> dict[str, Any]:
    return {
        "dense_perplexity": dense,
        "other_perplexity": other,
        "kl_nats": kl,
        "top1_agreement": same,
        "nll_difference_stderr": 0.02,
        "tokens": 4080,
        "prompt_tokens": 1,
        "vocabulary": VOCABULARY,
        "text": {"source": "wiki.test.raw"},
        **more,
    }


def codes(found: dict[str, Any]) -> list[str]:
    return [doubt.code for doubt in doubt_measured(found, "pruned", "dense")]


@pytest.mark.parametrize(
    "found",
    [
        figures(25.05, 47.32, 0.61, 0.62),  # a quarter removed, of the README
        figures(25.05, 27.66, 0.09, 0.84),  # a tenth
        figures(25.05, 51.38, 0.78, 0.58),  # half
        figures(29.22, 1_785_746 / 100, 6.8, 0.02),  # by magnitude, almost gone
        figures(5.3, 7.94, 0.412, 0.731, text=OWN),  # the demo on its own text
        figures(12.0, 15.9, 0.41, 0.7, text={**OWN, "written": {"nll": 2.3, "known_share": 0.9}}),
        figures(8.5, 9.0, 0.2, 0.7, text=OWN, prompt_tokens=256),  # a part of what was written
        figures(25.05, 25.05, 1e-7, 1.0, nll_difference_stderr=1e-8),  # one program, two runners
        figures(25.05, 25.11, 0.002, 0.985, nll_difference_stderr=1e-3),  # bfloat16
        figures(25.05, 24.70, 0.05, 0.9),  # better, but within noise
        figures(25.05, 24.99, 1e-6, 1.0, nll_difference_stderr=1e-6),  # better by rounding
        figures(25.05, 20.00, 0.2, 0.8, nll_difference_stderr=None),  # one window: no noise known
    ],
)
def test_numbers_of_sound_models_raise_no_doubt(found: dict[str, Any]) -> None:
    assert codes(found) == []


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (figures(302.0, 350.0, 0.2, 0.7, text=OWN), "absurd-on-its-own-text"),
        (figures(8.5, 9.0, 0.2, 0.7, text=OWN), "absurd-on-its-own-text"),
        (figures(13.5, 14.0, 0.2, 0.7, text=OWN, prompt_tokens=256), "absurd-on-its-own-text"),
        (figures(302.0, 267.0, 0.2, 0.7), "better-than-dense"),
        (figures(45_000.0, 46_000.0, 0.03, 0.7), "no-better-than-guessing"),
        (figures(25.0, 50.0, 0.7, 0.99), "figures-disagree"),
        (figures(25.0, 50.0, 0.001, 0.9), "figures-disagree"),
        (figures(50.0, 25.0, 0.001, 0.9, nll_difference_stderr=None), "figures-disagree"),
        (figures(25.0, 25.5, 2.5, 0.3), "figures-disagree"),
        (figures(25.0, 30.0, -0.2, 0.7), "impossible"),
        (figures(0.5, 30.0, 3.0, 0.7), "impossible"),
        (figures(math.nan, 30.0, 0.2, 0.7), "not-finite"),
        (figures(25.0, math.inf, 9.0, 0.7), "not-finite"),
        (figures(25.0, 30.0, math.nan, 0.7), "not-finite"),
        (figures(25.0, 30.0, 0.2, 0.7, tokens=0), "nothing-measured"),
    ],
)
def test_numbers_that_contradict_themselves_are_named(found: dict[str, Any], code: str) -> None:
    assert codes(found)[0] == code
    assert set(codes(found)) <= {code, "no-better-than-guessing"}


def test_a_written_report_says_the_same_as_what_was_measured() -> None:
    found = figures(math.nan, math.inf, math.nan, 0.7)
    assert codes(json.loads(format_json(found))) == codes(found) == ["not-finite"] * 3


def test_only_what_no_sound_model_has_is_fatal() -> None:
    def fatal(found: dict[str, Any]) -> list[bool]:
        return [doubt.is_fatal for doubt in doubt_measured(found, "pruned", "dense")]

    assert fatal(figures(302.0, 350.0, 0.2, 0.7, text=OWN)) == [True]
    assert fatal(figures(302.0, 267.0, 0.2, 0.7)) == [False]
    assert fatal(figures(49_000.0, 60_000.0, 0.3, 0.7)) == [False, False]  # an untrained model
    assert fatal(figures(25.05, 1_785_746.0, 11.0, 0.01)) == [False]  # ruined, by a sound cut
    assert fatal(figures(99_000.0, 30_000.0, 0.3, 0.7))[0]  # worse than half of a guess


def test_the_broken_run_is_named_by_what_it_was() -> None:
    doubts = doubt_measured(figures(302.0, 267.0, 0.5, 0.6, text=OWN), "pruned", "dense")
    assert [doubt.code for doubt in doubts] == ["absurd-on-its-own-text", "better-than-dense"]
    assert "wrote this text with a perplexity of 6, and reading it has one of 302" in (
        doubts[0].message
    )
    assert doubts[1].numbers["perplexity"] == [302.0, 267.0]


@pytest.mark.parametrize("forgets", [False, True])
def test_text_that_was_written_without_a_cache_is_found_out(forgets: bool) -> None:
    program = small_program()
    runner = TorchRunner(program)

    def step(tokens: torch.Tensor, mask: torch.Tensor, cache: Any) -> Any:
        if forgets:
            return runner.step(tokens, torch.ones_like(tokens), None)
        return runner.step(tokens, mask, cache)

    spec = CalibrationSpec(window_count=8, window_tokens=100)
    text = calibration_tokens(spec, CharacterTokenizer(), Author(step, program))
    found = agreement(runner, runner, text.tokens, text=text.description).to_json()
    assert ("absurd-on-its-own-text" in codes(found)) is forgets


@pytest.mark.parametrize(
    ("perplexity", "expected"),
    [(25.0, []), (50_000.0, ["no-better-than-guessing"]), (math.inf, ["not-finite"])],
)
def test_one_model_alone_is_doubted_too(perplexity: float, expected: list[str]) -> None:
    assert codes({"perplexity": perplexity, "tokens": 10, "vocabulary": VOCABULARY}) == expected


def test_what_is_no_perplexity_is_finite_at_least() -> None:
    outputs = [{"name": "logits", "kl_nats": 0.1, "cosine": None}]
    assert codes({"outputs": outputs, "tokens": 10}) == []
    doubts = doubt_measured({"outputs": [{**outputs[0], "kl_nats": math.nan}]}, "pruned", "dense")
    assert [doubt.message[:34] for doubt in doubts] == ["outputs[0].kl_nats of pruned is na"]
