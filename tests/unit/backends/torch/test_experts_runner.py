"""The runner of programs that choose from their prompt."""

from __future__ import annotations

import pytest
import torch

from prunec.backends.experts_steps import ReleasedError
from prunec.backends.measure import perplexity
from prunec.backends.runner import generate
from prunec.backends.torch import ExpertsRunner, TorchRunner, open_runner
from prunec.passes.contract import Context
from prunec.passes.ir import ProgramError
from prunec.passes.surgery import SelectExperts
from support.models import random_tokens, small_program
from support.oracle import relative_error

DENSE = small_program()
PROGRAM = SelectExperts().apply(DENSE, Context())
TOKENS = random_tokens(3, 20)
MASK = torch.ones_like(TOKENS)
MASK[1, :4] = 0
PROMPT = 9
ROUNDING = 1e-5


def test_the_factory_opens_both_forms_of_a_program() -> None:
    assert isinstance(open_runner(DENSE), TorchRunner)
    runner = open_runner(PROGRAM)
    assert isinstance(runner, ExpertsRunner)
    assert (runner.name, runner.vocabulary) == ("torch/cpu", 128)


def test_a_program_with_one_entry_point_is_refused() -> None:
    with pytest.raises(ProgramError, match=r"has the entry points \['main'\], not prefill"):
        ExpertsRunner(DENSE)


def test_an_empty_prompt_is_an_error() -> None:
    with pytest.raises(ValueError, match="the prompt is empty"):
        ExpertsRunner(PROGRAM).step(TOKENS[:, :0], MASK[:, :0], None)


def test_several_tokens_at_once_decode_like_one_after_the_other() -> None:
    runner = ExpertsRunner(PROGRAM)
    _, cache = runner.step(TOKENS[:, :PROMPT], MASK[:, :PROMPT], None)
    together, _ = runner.step(TOKENS[:, PROMPT:], MASK, cache)
    for place in range(PROMPT, TOKENS.shape[1]):
        step = TOKENS[:, place : place + 1]
        logits, cache = runner.step(step, MASK[:, : place + 1], cache)
        assert relative_error(logits[:, 0], together[:, place - PROMPT]) < ROUNDING


def test_what_takes_a_runner_takes_this_one() -> None:
    assert generate(ExpertsRunner(PROGRAM), TOKENS, MASK, new_tokens=5).shape == (3, 5)
    assert perplexity(ExpertsRunner(PROGRAM), TOKENS).perplexity == pytest.approx(
        perplexity(TorchRunner(DENSE), TOKENS).perplexity
    )


def test_a_refresh_chooses_by_its_own_tokens() -> None:
    runner = ExpertsRunner(PROGRAM)
    dense, _ = TorchRunner(DENSE).step(TOKENS, MASK, None)
    _, cache = runner.step(TOKENS[:, :PROMPT], MASK[:, :PROMPT], None)
    logits, after = runner.refresh(TOKENS[:, PROMPT:], MASK, cache)
    assert relative_error(logits, dense[:, PROMPT:]) < ROUNDING
    name = next(n for n in cache.experts if "layers.0" in n)
    assert not torch.equal(after.experts[name], cache.experts[name])


def test_a_verified_step_equals_the_whole_model_and_corrects_the_cache() -> None:
    dense, _ = TorchRunner(DENSE).step(TOKENS, MASK, None)
    runner, plain = ExpertsRunner(PROGRAM, verify_every=4), ExpertsRunner(PROGRAM)
    _, cache = runner.step(TOKENS[:, :PROMPT], MASK[:, :PROMPT], None)
    experts = cache.experts
    _, unverified = plain.step(TOKENS[:, :PROMPT], MASK[:, :PROMPT], None)
    for place in range(PROMPT, TOKENS.shape[1]):
        step, mask = TOKENS[:, place : place + 1], MASK[:, : place + 1]
        logits, cache = runner.step(step, mask, cache)
        found, unverified = plain.step(step, mask, unverified)
        is_verified = (place - PROMPT + 1) % 4 == 0
        assert (relative_error(logits[:, 0], dense[:, place]) < ROUNDING) == is_verified
        if place < PROMPT + 3:
            assert torch.equal(logits, found)
    assert cache.experts is experts
    _, whole = TorchRunner(DENSE).step(TOKENS[:, : PROMPT + 8], MASK[:, : PROMPT + 8], None)
    for name, tensor in cache.past.items():
        real = MASK[:, : PROMPT + 8, None].bool()
        kept = tensor[:, :, : PROMPT + 8].transpose(1, 2).flatten(2)
        expected = whole[name].transpose(1, 2).flatten(2)
        assert relative_error(kept * real, expected * real) < ROUNDING


def test_a_refresh_every_few_tokens_takes_the_units_that_they_choose() -> None:
    runner = ExpertsRunner(PROGRAM, refresh_every=3)
    _, cache = runner.step(TOKENS[:, :PROMPT], MASK[:, :PROMPT], None)
    for place in range(PROMPT, PROMPT + 3):
        _, cache = runner.step(TOKENS[:, place : place + 1], MASK[:, : place + 1], cache)
    _, prompt = runner.step(TOKENS[:, :PROMPT], MASK[:, :PROMPT], None)
    _, expected = runner.refresh(TOKENS[:, PROMPT : PROMPT + 3], MASK[:, : PROMPT + 3], prompt)
    for name, tensor in cache.experts.items():
        assert torch.equal(tensor, expected.experts[name])
    assert cache.recent.shape == (3, 0)


def test_a_released_prefill_decodes_on_and_takes_no_further_prompt() -> None:
    runner, whole = ExpertsRunner(PROGRAM), ExpertsRunner(PROGRAM)
    step, mask = TOKENS[:, PROMPT : PROMPT + 1], MASK[:, : PROMPT + 1]
    _, cache = runner.step(TOKENS[:, :PROMPT], MASK[:, :PROMPT], None)
    runner.release_prefill()
    found, _ = runner.step(step, mask, cache)
    assert torch.equal(found, whole.step(step, mask, cache)[0])
    with pytest.raises(ReleasedError, match="was released, and a prompt needs the whole model"):
        runner.step(TOKENS, MASK, None)
    with pytest.raises(ReleasedError, match="run the whole model again"):
        ExpertsRunner(PROGRAM, verify_every=2).release_prefill()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"verify_every": 0}, "verify_every=0: at least one token"),
        ({"refresh_every": -1}, "refresh_every=-1: at least one token"),
        ({"verify_every": 4, "refresh_every": 4}, "give one of it"),
    ],
)
def test_periods_that_make_no_sense_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExpertsRunner(PROGRAM, **options)  # type: ignore[arg-type]
