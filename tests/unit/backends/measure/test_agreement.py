import math

import pytest
import torch

from prunec.backends.measure.agreement import agreement, agreement_after_prompt
from prunec.backends.measure.perplexity import perplexity
from prunec.backends.measure.split_perplexity import split_perplexity
from support.models import random_tokens
from support.runners import BigramRunner, random_table

# Sums of a few hundred float32 terms of order one.
ROUNDING = 1e-5


def test_a_runner_agrees_with_itself() -> None:
    runner = BigramRunner(random_table())
    found = agreement(runner, runner, random_tokens(3, 9))
    assert found.kl_nats == pytest.approx(0, abs=1e-7)
    assert found.top1_agreement == 1
    assert found.dense_perplexity == found.other_perplexity


def test_divergence_and_agreement_are_those_of_sums_by_hand() -> None:
    tables = [random_table(seed=s) for s in (0, 1)]
    windows = random_tokens(5, 300)
    p, q = (t.double().log_softmax(-1) for t in tables)
    divergence = (p.exp() * (p - q)).sum(-1)  # [token before]
    before = windows[:, :-1]
    found = agreement(*map(BigramRunner, tables), windows, batch=2)
    assert found.kl_nats == pytest.approx(divergence[before].mean().item(), rel=ROUNDING)
    spread = divergence[before].mean(1).std().item() / math.sqrt(5)
    assert found.kl_stderr_nats == pytest.approx(spread, rel=1e-3)
    same = p.argmax(-1) == q.argmax(-1)
    assert found.top1_agreement == pytest.approx(same[before].double().mean().item())
    assert found.tokens == 5 * 299


def test_divergence_is_measured_from_the_dense_model() -> None:
    sure, unsure = torch.zeros(4, 4), torch.zeros(4, 4)
    sure[:, 0] = 3.0
    windows = torch.zeros(1, 5, dtype=torch.int64)
    p, q = sure[0].log_softmax(-1), unsure[0].log_softmax(-1)
    forward = agreement(BigramRunner(sure), BigramRunner(unsure), windows).kl_nats
    backward = agreement(BigramRunner(unsure), BigramRunner(sure), windows).kl_nats
    assert forward == pytest.approx((p.exp() * (p - q)).sum().item(), rel=ROUNDING)
    assert backward == pytest.approx((q.exp() * (q - p)).sum().item(), rel=ROUNDING)
    assert abs(forward - backward) > 0.1


def test_perplexities_are_those_of_the_perplexity_measure() -> None:
    dense, other = (BigramRunner(random_table(seed=s), name) for s, name in ((0, "a"), (1, "b")))
    windows = random_tokens(3, 20)
    found = agreement(dense, other, windows, text={"source": "self"})
    assert found.dense_perplexity == pytest.approx(perplexity(dense, windows).perplexity)
    assert found.other_perplexity == pytest.approx(perplexity(other, windows).perplexity)
    document = found.to_json()
    assert (document["dense"], document["other"]) == ("a", "b")
    assert document["text"] == {"source": "self"}


def test_the_difference_is_paired_window_by_window() -> None:
    tables = [random_table(seed=s) for s in (0, 1)]
    windows = random_tokens(5, 40)
    losses = [perplexity(BigramRunner(t), windows).window_nll for t in tables]
    differences = torch.tensor(losses[1]) - torch.tensor(losses[0])
    found = agreement(*map(BigramRunner, tables), windows)
    assert found.nll_difference == pytest.approx(differences.mean().item(), rel=1e-4)
    stderr = differences.std().item() / math.sqrt(5)
    assert found.nll_difference_stderr == pytest.approx(stderr, rel=1e-4)
    assert found.vocabulary == 128


def test_tokens_that_both_rule_out_are_no_divergence() -> None:
    table = random_table()
    table[:, 100:] = -torch.inf  # a vocabulary that is padded
    found = agreement(BigramRunner(table), BigramRunner(table), random_tokens(2, 9) % 100)
    assert found.kl_nats == 0


def test_logits_that_are_no_numbers_stay_visible() -> None:
    broken = torch.full((128, 128), torch.nan)
    found = agreement(BigramRunner(random_table()), BigramRunner(broken), random_tokens(2, 9))
    assert math.isnan(found.kl_nats)
    assert math.isnan(found.other_perplexity)


def test_each_runner_is_stepped_once_for_each_batch() -> None:
    dense, other = BigramRunner(random_table()), BigramRunner(random_table(seed=1))
    agreement(dense, other, random_tokens(5, 9), batch=2)
    assert dense.rows == other.rows == [2, 2, 1]


def test_after_a_prompt_it_counts_what_split_perplexity_counts() -> None:
    runners = [BigramRunner(random_table(seed=s)) for s in (0, 1)]
    windows = random_tokens(3, 20)
    found = agreement_after_prompt(*runners, windows, prompt_tokens=8)
    alone = [split_perplexity(r, windows, prompt_tokens=8).perplexity for r in runners]
    assert [found.dense_perplexity, found.other_perplexity] == pytest.approx(alone, rel=ROUNDING)
    assert (found.tokens, found.prompt_tokens) == (3 * 12, 8)
    whole = agreement(*runners, windows[:, 7:])
    assert found.kl_nats == pytest.approx(whole.kl_nats, rel=ROUNDING)  # no row knows the past


def test_a_prompt_that_leaves_nothing_to_compare_is_refused() -> None:
    runner = BigramRunner(random_table())
    with pytest.raises(ValueError, match=r"prompt_tokens is 8: .* allow 1 to 7"):
        agreement_after_prompt(runner, runner, random_tokens(1, 9), prompt_tokens=8)
