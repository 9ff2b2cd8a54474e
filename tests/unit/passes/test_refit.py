from __future__ import annotations

import numpy as np
import pytest
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program, execute, language_feeds
from prunec.passes.repair import Refit
from prunec.passes.repair.refit import narrowed_layers
from prunec.passes.surgery import cut_program
from support.models import random_tokens, small_program
from support.oracle import relative_error

PROGRAM = small_program(torch.float64)
TOKENS = random_tokens(8, 48)
# The ridge pulls a little towards the unrepaired weight; without it only rounding is left.
TINY_RIDGE = 1e-12
DUPLICATE_COST = 1e-6


def cut(program: Program, kind: str, keep: slice) -> Program:
    coupling = find_structures(program)
    selection = {s.atom: np.arange(s.size)[keep] for s in coupling.of_kind(kind)}
    return cut_program(program, coupling, selection)


def error(program: Program) -> float:
    feeds = language_feeds(program.main, TOKENS)
    expected = execute(PROGRAM, language_feeds(PROGRAM.main, TOKENS))["logits"]
    return float((execute(program, feeds)["logits"] - expected).square().mean())


@pytest.mark.parametrize("kind", ["ffn-channel", "kv-group"])
def test_a_refit_brings_the_outputs_closer_to_the_uncut_program(kind: str) -> None:
    after = cut(PROGRAM, kind, slice(0, -1) if kind == "kv-group" else slice(0, 70))
    refitted = Refit().apply(after, Context(calibration=TOKENS, reference=PROGRAM))
    assert error(refitted) < 0.8 * error(after)


def test_a_refit_without_a_cut_returns_the_same_object() -> None:
    context = Context(calibration=TOKENS, reference=PROGRAM)
    assert Refit().apply(PROGRAM, context) is PROGRAM


def test_removing_a_duplicated_channel_costs_nothing_after_the_refit() -> None:
    doubled = dict(PROGRAM.weights)
    for name, weight in PROGRAM.weights.items():
        if "gate_proj" in name or "up_proj" in name:
            doubled[name] = torch.cat([weight[:48], weight[:48]])
    original = PROGRAM.with_weights(doubled)
    after = cut(original, "ffn-channel", slice(0, 48))
    context = Context(calibration=TOKENS, reference=original)
    refitted = Refit(ridge=TINY_RIDGE).apply(after, context)
    expected = execute(original, language_feeds(original.main, TOKENS))["logits"]
    found = execute(refitted, language_feeds(refitted.main, TOKENS))["logits"]
    assert relative_error(found, expected) < DUPLICATE_COST


def test_only_layers_that_lost_inputs_are_refitted() -> None:
    after = cut(PROGRAM, "ffn-channel", slice(0, 70))
    names = [node.args[1].name for node in narrowed_layers(after, PROGRAM)]  # type: ignore[union-attr]
    assert len(names) == 2
    assert all("down_proj" in name for name in names)


def test_missing_text_or_reference_is_an_error() -> None:
    after = cut(PROGRAM, "ffn-channel", slice(0, 70))
    with pytest.raises(PassError, match="put refit after a cut"):
        Refit().apply(after, Context(calibration=TOKENS))
    with pytest.raises(PassError, match="needs calibration text"):
        Refit().apply(after, Context(reference=PROGRAM))


def test_activations_that_are_not_finite_are_an_error() -> None:
    name = next(n for n in PROGRAM.weights if "up_proj" in n)
    broken = PROGRAM.with_weights({name: PROGRAM.weights[name] * float("inf")})
    with pytest.raises(PassError, match="not finite"):
        Refit().apply(
            cut(broken, "ffn-channel", slice(0, 70)), Context(calibration=TOKENS, reference=broken)
        )
