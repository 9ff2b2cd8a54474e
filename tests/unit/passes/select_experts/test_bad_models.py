"""Models that units cannot be chosen of: refused, never chosen by accident."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance.scores import Scores
from prunec.passes.contract import Context, PassError
from prunec.passes.surgery import SelectExperts, cut_program
from support.models import random_tokens, small_program

PROGRAM = small_program()
UP = "model.layers.0.mlp.up_proj.weight"
DOWN = "model.layers.0.mlp.down_proj.weight"


def test_a_model_without_feed_forwards_is_refused_with_what_it_has() -> None:
    coupling = find_structures(PROGRAM)
    (branches,) = coupling.of_kind("layer")
    attention = cut_program(PROGRAM, coupling, {branches.atom: np.array([0, 2])})
    assert not find_structures(attention).of_kind("ffn-channel")
    with pytest.raises(PassError, match=r"no feed-forward .*; this program has .*'kv-group'"):
        SelectExperts().apply(attention, Context())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("options", "weight", "message"),
    [
        ({"prior": 0.5}, UP, r"prior or core: what \d+ of 96 units"),
        ({"core": 0.5}, UP, r"prior or core: what \d+ of 96 units"),
        ({"choice": "magnitude"}, UP, "choice=magnitude: what 1 of 96 units"),
        ({"column_norm": True}, DOWN, "column_norm: what 96 of 96 units"),
        ({"refit": "prompt"}, UP, "activations at .* are not finite"),
    ],
)
def test_what_is_not_finite_chooses_nothing(
    options: dict[str, Any], weight: str, message: str, value: float
) -> None:
    broken = PROGRAM.weights[weight].clone()
    broken[3] = value
    context = Context(calibration=random_tokens(4, 16))
    with pytest.raises(PassError, match=message):
        SelectExperts(**options).apply(PROGRAM.with_weights({weight: broken}), context)


@pytest.mark.parametrize("options", [{"choice": "static"}, {"prior": 0.5, "prior_by": "scores"}])
def test_scores_that_are_not_finite_choose_nothing(options: dict[str, Any]) -> None:
    structures = find_structures(PROGRAM).of_kind("ffn-channel")
    nowhere = {s.name: torch.full((s.size,), torch.nan) for s in structures}
    with pytest.raises(PassError, match="what 96 of 96 units"):
        SelectExperts(**options).apply(PROGRAM, Context(scores=Scores("none", nowhere)))
