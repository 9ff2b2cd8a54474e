import itertools
import math

import pytest
import torch

from prunec.backends.measure import split_perplexity
from prunec.backends.torch import TorchRunner
from support.models import random_tokens, small_program
from support.runners import BigramRunner, random_table

# Sums of a few hundred float32 logarithms of order one.
ROUNDING = 1e-6
# One pass and two with a cache round differently.
CACHE_ROUNDING = 1e-5


class StepRecorder(BigramRunner):
    """Remembers the lengths of its steps, and predicts otherwise once it has a cache."""

    def __init__(self) -> None:
        super().__init__(random_table())
        self.lengths: list[tuple[int, int]] = []

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: int | None
    ) -> tuple[torch.Tensor, int]:
        self.lengths.append((cache or 0, tokens.shape[1]))
        logits, grown = super().step(tokens, mask, cache)
        return (logits if cache is None else torch.zeros_like(logits)), grown


def test_it_is_the_mean_by_hand_over_the_tokens_after_the_prompt() -> None:
    table, windows = random_table().double().log_softmax(-1), random_tokens(4, 30)
    nll = [[-table[a, b].item() for a, b in itertools.pairwise(r)][9:] for r in windows.tolist()]
    found = split_perplexity(BigramRunner(random_table()), windows, prompt_tokens=10)
    assert found.tokens == 4 * 20 == sum(map(len, nll))
    assert found.window_nll == pytest.approx([sum(row) / 20 for row in nll], rel=ROUNDING)
    assert found.perplexity == pytest.approx(math.exp(sum(map(sum, nll)) / 80), rel=ROUNDING)
    spread = torch.tensor(found.window_nll, dtype=torch.float64).std().item() / 2
    assert found.nll_stderr == pytest.approx(spread)
    quarters = [sum(sum(row[i : i + 5]) for row in nll) / 20 for i in (0, 5, 10, 15)]
    assert found.quarter_nll == pytest.approx(quarters, rel=ROUNDING)


def test_windows_of_a_batch_are_run_together() -> None:
    runner, windows = StepRecorder(), random_tokens(3, 30)
    alone = split_perplexity(StepRecorder(), windows, prompt_tokens=10)
    found = split_perplexity(runner, windows, prompt_tokens=10, batch=2)
    assert runner.rows == [2, 2, 1, 1]
    assert found.window_nll == pytest.approx(alone.window_nll, rel=ROUNDING)


def test_two_tokens_are_two_parts() -> None:
    found = split_perplexity(BigramRunner(random_table()), random_tokens(1, 12), prompt_tokens=10)
    assert found.nll == pytest.approx(sum(found.quarter_nll) / 2, rel=ROUNDING)
    assert len(found.quarter_nll) == 2


def test_each_window_is_a_step_of_the_prompt_and_one_with_its_cache() -> None:
    runner = StepRecorder()
    windows = random_tokens(2, 30)
    found = split_perplexity(runner, windows, prompt_tokens=10)
    assert runner.lengths == [(0, 10), (10, 19)] * 2
    table = random_table().log_softmax(-1)
    first = -table[windows[:, 9], windows[:, 10]]  # the prompt's own step predicts token 10
    expected = (first + 19 * math.log(128)) / 20
    assert found.window_nll == pytest.approx(expected.tolist(), rel=ROUNDING)


def test_a_traced_model_agrees_with_one_pass_over_the_window() -> None:
    runner, windows = TorchRunner(small_program()), random_tokens(3, 24)
    logits, _ = runner.step(windows, torch.ones_like(windows), None)
    loss = torch.nn.functional.cross_entropy(
        logits[:, 15:-1].flatten(0, 1), windows[:, 16:].flatten()
    )
    found = split_perplexity(runner, windows, prompt_tokens=16)
    assert found.nll == pytest.approx(loss.item(), rel=CACHE_ROUNDING)


def test_the_result_is_json_that_says_what_was_measured() -> None:
    runner = BigramRunner(random_table(), name="toy/cpu")
    document = split_perplexity(
        runner, random_tokens(1, 9), prompt_tokens=4, text={"sha256": "abc"}
    ).to_json()
    assert (document["runner"], document["prompt_tokens"], document["tokens"]) == ("toy/cpu", 4, 5)
    assert document["text"] == {"sha256": "abc"}
    assert document["nll_stderr"] is None


@pytest.mark.parametrize("prompt_tokens", [0, 8, 9])
def test_a_prompt_that_leaves_nothing_to_predict_is_refused(prompt_tokens: int) -> None:
    with pytest.raises(ValueError, match=f"prompt_tokens is {prompt_tokens}: .* allow 1 to 7"):
        split_perplexity(
            BigramRunner(random_table()), random_tokens(1, 9), prompt_tokens=prompt_tokens
        )
