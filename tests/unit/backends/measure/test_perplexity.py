import itertools
import math

import pytest
import torch

from prunec import __version__
from prunec.backends.measure.perplexity import perplexity
from prunec.backends.torch.runner import TorchRunner
from support.models import random_tokens, small_program
from support.runners import BigramRunner, random_table

# Sums of a few hundred float32 logarithms of order one.
ROUNDING = 1e-6
# Batched and single matrix products of a small float32 model round differently.
BATCH_ROUNDING = 1e-5


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    found = perplexity(BigramRunner(torch.zeros(128, 128)), random_tokens(3, 9))
    assert found.perplexity == pytest.approx(128, rel=ROUNDING)
    assert found.nll_stderr == pytest.approx(0, abs=ROUNDING)


def test_perplexity_is_that_of_a_sum_by_hand() -> None:
    table, windows = random_table().double().log_softmax(-1), random_tokens(4, 200)
    nll = [[-table[a, b].item() for a, b in itertools.pairwise(r)] for r in windows.tolist()]
    found = perplexity(BigramRunner(random_table()), windows, batch=3)
    assert found.nll == pytest.approx(sum(map(sum, nll)) / (4 * 199), rel=ROUNDING)
    assert found.perplexity == pytest.approx(math.exp(found.nll))
    means = torch.tensor([sum(row) / 199 for row in nll], dtype=torch.float64)
    assert found.nll_stderr == pytest.approx(means.std().item() / 2, rel=1e-4)


def test_a_loss_beyond_every_float_is_an_infinite_perplexity() -> None:
    table = torch.zeros(128, 128)
    table[:, 0] = 1e4
    found = perplexity(BigramRunner(table), random_tokens(1, 9))
    assert found.nll == pytest.approx(1e4)
    assert found.perplexity == math.inf


def test_the_result_says_what_was_measured_and_with_what() -> None:
    runner = BigramRunner(random_table(), name="toy/cpu")
    found = perplexity(runner, random_tokens(1, 9), text={"sha256": "abc"})
    document = found.to_json()
    assert (document["runner"], document["windows"], document["tokens"]) == ("toy/cpu", 1, 8)
    assert document["text"] == {"sha256": "abc"}
    assert document["versions"]["prunec"] == __version__
    assert document["versions"]["torch"] == torch.__version__
    assert document["nll_stderr"] is None
    assert document["seconds"] > 0


def test_windows_are_run_in_batches() -> None:
    runner = BigramRunner(random_table())
    perplexity(runner, random_tokens(5, 9), batch=2)
    assert runner.rows == [2, 2, 1]


def test_a_traced_model_agrees_with_its_own_loss_whatever_the_batch() -> None:
    program, windows = small_program(), random_tokens(4, 20)
    logits, _ = TorchRunner(program).step(windows, torch.ones_like(windows), None)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), windows[:, 1:].flatten())
    for batch in (1, 3):
        found = perplexity(TorchRunner(program), windows, batch=batch)
        assert found.nll == pytest.approx(loss.item(), rel=BATCH_ROUNDING)
