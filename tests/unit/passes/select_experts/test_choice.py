"""How units are chosen: the options against their formulas, and the functions on small numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance.scores import Scores
from prunec.passes.contract import Context
from prunec.passes.ir import PREFILL, execute, language_feeds
from prunec.passes.surgery import SelectExperts
from prunec.passes.surgery.select_experts.choice import choose, fuse_ranks, places
from prunec.passes.surgery.select_experts.statistic import energy_shares, score_together
from support.griffin import chosen, statistic
from support.layer_inputs import layer_inputs
from support.models import random_tokens, small_program

PROGRAM = small_program()
TEXT = random_tokens(4, 16, 1)
PROMPT = random_tokens(1, 7)
COUNT = 48  # of 96
DOWN = [n for n in PROGRAM.weights if "down_proj" in n]


def indices(context: Context | None = None, **options: Any) -> list[torch.Tensor]:
    program = SelectExperts(**options).apply(PROGRAM, context or Context(calibration=TEXT))
    prefill = program.entries[PREFILL]
    outputs = execute(program, language_feeds(prefill, PROMPT), prefill)
    return [outputs[f"experts.{layer}.indices"] for layer in range(2)]


def local(weight: str) -> torch.Tensor:
    return statistic(layer_inputs(PROGRAM, weight, PROMPT))


def prior(weight: str) -> torch.Tensor:
    return torch.stack([statistic(layer_inputs(PROGRAM, weight, row[None])) for row in TEXT]).mean(
        0
    )


def rank(scores: torch.Tensor) -> torch.Tensor:
    """Place by comparison with every other unit: 0 for the best."""
    return (scores[None, :] > scores[:, None]).sum(1).float()


def best(scores: torch.Tensor, count: int = COUNT) -> torch.Tensor:
    order = torch.sort(scores, descending=True, stable=True).indices
    return order[:count].sort().values


def test_ranks_of_the_prompt_and_of_the_text_are_fused() -> None:
    for weight, found in zip(DOWN, indices(prior=0.25), strict=True):
        assert torch.equal(found, best(-0.75 * rank(local(weight)) - 0.25 * rank(prior(weight))))


def test_with_the_whole_weight_on_the_prior_the_prompt_has_no_say() -> None:
    for weight, found in zip(DOWN, indices(prior=1), strict=True):
        assert torch.equal(found, best(prior(weight)))


def test_scores_are_multiplied_by_the_norms_of_columns() -> None:
    for weight, found in zip(DOWN, indices(column_norm=True), strict=True):
        assert torch.equal(found, best(local(weight) * PROGRAM.weights[weight].norm(dim=0)))


def test_the_core_stays_and_the_prompt_chooses_the_rest() -> None:
    for weight, found in zip(DOWN, indices(core=0.5), strict=True):
        core = best(prior(weight), 24)
        others = local(weight).index_fill(0, core, -1)
        assert torch.equal(found, torch.cat([core, best(others, 24)]).sort().values)


def test_all_options_together() -> None:
    options = {"prior": 0.5, "column_norm": True, "core": 0.25, "keep": 0.75}
    for weight, found in zip(DOWN, indices(**options), strict=True):
        norms = PROGRAM.weights[weight].norm(dim=0)
        here, known = local(weight) * norms, prior(weight) * norms
        fused = -0.5 * rank(here) - 0.5 * rank(known)
        core = best(known, 18)
        rest = best(fused.index_fill(0, core, -1e9), 72 - 18)
        assert torch.equal(found, torch.cat([core, rest]).sort().values)


def test_magnitude_is_the_product_of_row_norms() -> None:
    for layer, found in enumerate(indices(choice="magnitude")):
        gate, up = (
            PROGRAM.weights[f"model.layers.{layer}.mlp.{kind}_proj.weight"].norm(dim=1)
            for kind in ("gate", "up")
        )
        assert torch.equal(found, best(gate * up))


def random_scores() -> Scores:
    generator = torch.Generator().manual_seed(0)
    structures = find_structures(PROGRAM).of_kind("ffn-channel")
    found = {s.name: torch.rand(s.size, generator=generator).double() for s in structures}
    return Scores("random", found)


def test_a_static_choice_is_that_of_the_best_scores() -> None:
    scores = random_scores()
    found = indices(Context(scores=scores), choice="static")
    for known, units in zip(scores.by_structure.values(), found, strict=True):
        assert torch.equal(units, best(known))


def test_the_prior_can_be_the_scores_of_the_run() -> None:
    scores = random_scores()
    options = {"prior": 0.25, "prior_by": "scores", "column_norm": True}
    found = indices(Context(scores=scores), **options)
    for weight, known, units in zip(DOWN, scores.by_structure.values(), found, strict=True):
        here = local(weight) * PROGRAM.weights[weight].norm(dim=0)
        assert torch.equal(units, best(-0.75 * rank(here) - 0.25 * rank(known)))


def test_of_equal_scores_the_lower_index_is_better() -> None:
    scores = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0])
    assert choose(scores, 3).tolist() == [0, 1, 3]
    assert places(scores).tolist() == [2, 0, 3, 1, 4]
    assert choose(torch.zeros(3, 2000), 5).tolist() == [[0, 1, 2, 3, 4]] * 3


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_fused_ranks_of_many_equal_the_comparison_of_all_pairs(share: float) -> None:
    generator = torch.Generator().manual_seed(1)
    scores, known = torch.rand(2, 300, generator=generator)
    expected = -(1 - share) * rank(scores) - share * rank(known)
    assert torch.allclose(fuse_ranks(scores, rank(known), share), expected)


def test_tokens_however_small_or_large_count_alike() -> None:
    z = torch.randn(1, 6, 10, generator=torch.Generator().manual_seed(2))
    scales = torch.tensor([1e-15, 1e-6, 1.0, 1e3, 1e6, 1e15])[:, None]
    real = torch.ones(1, 6)
    assert torch.allclose(energy_shares(z * scales, real), energy_shares(z, real), rtol=1e-5)


def test_a_batch_adds_up_what_each_row_says_by_token() -> None:
    z = torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(3))
    real = torch.ones(3, 9)
    real[1, :5] = 0
    real[2] = 0
    found = choose(score_together(energy_shares(z, real), real), 8)
    assert torch.equal(found, chosen(z, real.bool(), 8))
