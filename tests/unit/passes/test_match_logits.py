from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from prunec.passes.ir import Program, execute, language_feeds
from prunec.passes.repair import MatchLogits, Refit
from support.architectures import architecture_program
from support.cuts import TOKENS, cut
from support.models import small_program

PROGRAM = small_program(torch.float64)


def divergence(uncut: Program, program: Program, tokens: torch.Tensor) -> float:
    """KL of the next token's distribution, written from its formula."""
    theirs, ours = (
        F.log_softmax(execute(p, language_feeds(p.main, tokens))["logits"].double(), -1)
        for p in (uncut, program)
    )
    return float((theirs.exp() * (theirs - ours)).sum(-1).mean())


def changed(before: Program, after: Program) -> set[str]:
    return {n for n, w in before.weights.items() if not torch.equal(w, after.weights[n])}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_distribution_comes_closer_to_that_of_the_uncut_program(precision: str) -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    refitted = Refit().apply(after, context)
    trained = MatchLogits(epochs=10, span=4, precision=precision).apply(refitted, context)
    assert divergence(PROGRAM, trained, TOKENS) < 0.8 * divergence(PROGRAM, refitted, TOKENS)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "olmo2", "falcon-new"])
def test_it_does_so_in_other_architectures(name: str) -> None:
    program = architecture_program(name)
    after, context = cut(program, "ffn-channel", slice(0, 40))
    trained = MatchLogits(epochs=10, span=4).apply(after, context)
    assert divergence(program, trained, TOKENS) < divergence(program, after, TOKENS)


def test_only_the_last_branches_change_and_neither_norm_nor_head() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    one = changed(after, MatchLogits(epochs=1, span=1).apply(after, context))
    assert one
    assert all("layers.1." in n for n in one)
    assert not any("self_attn" in n for n in one)
    two = changed(after, MatchLogits(epochs=1, span=2).apply(after, context))
    assert any("layers.1.self_attn" in n for n in two)
    assert all("layers.1." in n for n in two)


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    first, again = (MatchLogits(epochs=1).apply(after, context) for _ in range(2))
    context.seed = 1
    other = MatchLogits(epochs=1).apply(after, context)
    assert not changed(first, again)
    assert changed(first, other)


def test_when_the_minutes_are_over_it_says_so() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 48))
    notices: list[str] = []
    context.notice = notices.append
    MatchLogits(minutes=1e-9).apply(after, context)
    assert [n for n in notices if "minutes were over before 3 epochs" in n]


@pytest.mark.parametrize("wrong", [{"span": 0}, {"learning_rate": 0.0}, {"precision": "half"}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match="|".join(wrong)):
        MatchLogits(**wrong)  # type: ignore[arg-type]
