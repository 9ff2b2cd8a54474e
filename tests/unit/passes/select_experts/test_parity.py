"""The compiled choice against an eager reference written from the formula."""

from __future__ import annotations

import pytest
import torch

from prunec.backends.torch import ExpertsRunner
from prunec.passes.contract import Context
from prunec.passes.ir import DECODE, PREFILL, Program, execute, language_feeds, verify
from prunec.passes.ir.run import positions
from prunec.passes.surgery import SelectExperts
from support.architectures import architecture_program, random_model
from support.griffin import FEED_FORWARD, GriffinReference
from support.oracle import relative_error

ROUNDING = 1e-5  # float32 through two layers; other units are off by more than 1e-2
COUNT = 28  # of 56
PROMPT, TOTAL = 9, 14
PADDING = (0, 3, 8)  # of the rows of a batch; the last has one real token


def batch(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    tokens = torch.randint(3, 60, (rows, TOTAL), generator=generator)
    mask = torch.ones_like(tokens)
    for row in range(rows):
        mask[row, : PADDING[row]] = 0
    return tokens, mask


def select(name: str, **options: object) -> Program:
    program = architecture_program(name, torch.float32)
    after = SelectExperts(multiple=4, **options).apply(program, Context())  # type: ignore[arg-type]
    verify(after, program)
    return after


def reference_step(
    reference: GriffinReference, program: Program, tokens: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    more = {}
    if any(p.name == "position_ids" for p in program.entries[PREFILL].inputs):
        more["position_ids"] = positions(mask)[:, -tokens.shape[1] :]
    return reference.step(tokens, mask, **more)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", FEED_FORWARD)
def test_indices_and_logits_equal_the_reference(name: str, rows: int) -> None:
    program = select(name)
    reference = GriffinReference(random_model(name), name, [COUNT, COUNT])
    runner = ExpertsRunner(program)
    tokens, mask = batch(rows)
    cache = None
    for start, end in ((0, PROMPT), *((t, t + 1) for t in range(PROMPT, TOTAL))):
        step, seen = tokens[:, start:end], mask[:, :end]
        expected = reference_step(reference, program, step, seen)
        logits, cache = runner.step(step, seen, cache)
        real = seen[:, start:].bool()
        assert relative_error(logits[real], expected[real]) < ROUNDING
    outputs = execute(
        program,
        language_feeds(program.entries[PREFILL], tokens[:, :PROMPT], mask[:, :PROMPT]),
        program.entries[PREFILL],
    )
    for layer, units in enumerate(reference.indices):
        assert torch.equal(outputs[f"experts.{layer}.indices"], units)


def test_the_choice_matters() -> None:
    tokens, mask = batch(1)
    whole = ExpertsRunner(select("llama"))
    logits, cache = whole.step(tokens[:, :PROMPT], mask[:, :PROMPT], None)
    found, _ = whole.step(tokens[:, PROMPT:], mask, cache)
    dense = architecture_program("llama", torch.float32)
    expected = execute(dense, language_feeds(dense.main, tokens, mask))["logits"]
    assert relative_error(logits, expected[:, :PROMPT]) < ROUNDING
    assert relative_error(found, expected[:, PROMPT:]) > 1e3 * ROUNDING


@pytest.mark.parametrize("name", FEED_FORWARD)
def test_rows_with_their_own_units_equal_each_row_alone(name: str) -> None:
    together, alone = select(name, per_sequence=True), ExpertsRunner(select(name))
    tokens, mask = batch(3)
    runner = ExpertsRunner(together)
    _, cache = runner.step(tokens[:, :PROMPT], mask[:, :PROMPT], None)
    logits, _ = runner.step(tokens[:, PROMPT:], mask, cache)
    for row, padding in enumerate(PADDING):
        own, real = tokens[row : row + 1, padding:], mask[row : row + 1, padding:]
        prompt = PROMPT - padding
        _, cache = alone.step(own[:, :prompt], real[:, :prompt], None)
        expected, _ = alone.step(own[:, prompt:], real, cache)
        assert relative_error(logits[row : row + 1], expected) < ROUNDING
    assert together.entries[DECODE].inputs[-1].shape[0] == "batch_size"
