"""What every repair has in common."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.repair import CompensateBias, MatchLogits, Reconstruct, Refit
from support.cuts import TOKENS, cut
from support.models import small_program

PROGRAM = small_program(torch.float64)

every_repair = pytest.mark.parametrize(
    "repair",
    [CompensateBias(), Refit(), Reconstruct(epochs=1), MatchLogits(epochs=1)],
    ids=lambda repair: repair.name,
)


@every_repair
def test_numbers_that_are_not_finite_are_an_error(repair: Pass) -> None:
    name = next(n for n in PROGRAM.weights if "up_proj" in n)
    broken = PROGRAM.with_weights({name: PROGRAM.weights[name] * float("inf")})
    after, context = cut(broken, "ffn-channel", slice(0, 70))
    with pytest.raises(PassError, match="not finite"):
        repair.apply(after, context)


@every_repair
def test_without_a_cut_it_says_where_it_belongs(repair: Pass) -> None:
    with pytest.raises(PassError, match="after remove-structures"):
        repair.apply(PROGRAM, Context(calibration=TOKENS))


@every_repair
def test_without_text_it_asks_for_it(repair: Pass) -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 70))
    with pytest.raises(PassError, match="needs calibration text"):
        repair.apply(after, replace(context, calibration=None))
