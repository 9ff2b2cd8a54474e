from __future__ import annotations

from random import Random

import pytest
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import Score
from prunec.passes.analysis.importance.obs_greedy import removal_order, scores_in_order
from prunec.passes.analysis.importance.removal import LayerState
from prunec.passes.contract import Context
from prunec.passes.ir import Program
from support.layer_inputs import layer_inputs
from support.models import random_tokens, small_program

PROGRAM = small_program(torch.float64)
COUPLING = find_structures(PROGRAM)
TOKENS = random_tokens(8, 40)
EXACT = 1e-6  # relative; what is compared is computed in float64 by another route
DAMPING = 0.001


def scores(program: Program, criterion: str, kind: str) -> dict[str, torch.Tensor]:
    context = Context(calibration=TOKENS)
    Score(criterion, (kind,)).apply(program, context)
    assert context.scores is not None
    return dict(context.scores.by_structure)


def refit_error(x: torch.Tensor, weight: torch.Tensor, gone: torch.Tensor, ridge: float) -> float:
    """Half the squared error of a layer without some inputs, after the best ridge refit.

    The ridge holds every weight to where it was, those that go as well.
    """
    rows = weight.T  # [in, out]
    stays = torch.ones(len(rows), dtype=torch.bool)
    stays[gone] = False
    held = ridge**0.5 * torch.eye(len(rows), dtype=torch.float64)
    design, targets = torch.cat([x, held]), torch.cat([x @ rows, held @ rows])
    solved = torch.linalg.lstsq(design[:, stays], targets, driver="gelsd").solution
    return float((design[:, stays] @ solved - targets).square().sum() / 2)


@pytest.mark.parametrize(
    ("kind", "layer", "inputs"),
    [("kv-group", "self_attn.o_proj", 32), ("ffn-channel", "mlp.down_proj", 1)],
)
def test_the_predicted_loss_is_the_measured_one(kind: str, layer: str, inputs: int) -> None:
    weight = PROGRAM.weights[f"model.layers.1.{layer}.weight"]
    x = layer_inputs(PROGRAM, f"model.layers.1.{layer}.weight", TOKENS)
    ridge = DAMPING * float(x.square().sum(0).mean())
    structure = COUPLING.of_kind(kind)[1]
    predicted = scores(PROGRAM, "obs", kind)[structure.name]
    for unit in range(0, structure.size, max(1, structure.size // 8)):
        gone = torch.arange(unit * inputs, (unit + 1) * inputs)
        measured = refit_error(x, weight, gone, ridge)
        assert float(predicted[unit]) == pytest.approx(measured, rel=EXACT)


@pytest.mark.parametrize("batch", [1, 5])
def test_the_losses_of_all_removals_add_up_to_the_measured_one(batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 24, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(24, 24, generator=generator, dtype=torch.float64)  # correlated
    weight = torch.randn(7, 24, generator=generator, dtype=torch.float64)
    # Inputs 20 to 23 belong to no unit and always stay.
    unit = torch.cat([torch.arange(10).repeat(2), torch.full((4,), -1)])
    ridge = 0.5
    inverse = torch.linalg.inv(x.T @ x + ridge * torch.eye(24, dtype=torch.float64))
    order, growth = removal_order([LayerState(inverse, weight, unit, 10)], 10, batch)
    assert sorted(order.tolist()) == list(range(10))
    for count in (1, 4, 5, 10):
        gone = torch.nonzero(torch.isin(unit, order[:count]))[:, 0]
        measured = refit_error(x, weight, gone, ridge)
        assert float(growth[:count].sum()) == pytest.approx(measured, rel=EXACT)


def test_each_removal_of_single_units_is_the_best_there_is() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    inverse = torch.linalg.inv(x.T @ x + 0.1 * torch.eye(8, dtype=torch.float64))
    order, _ = removal_order([LayerState(inverse, weight, torch.arange(8), 8)], 8, 1)
    gone: list[int] = []
    for chosen in order.tolist():
        left = [unit for unit in range(8) if unit not in gone]
        errors = {u: refit_error(x, weight, torch.tensor([*gone, u]), 0.1) for u in left}
        assert chosen == min(errors, key=errors.__getitem__)
        gone.append(chosen)


@pytest.mark.parametrize("kind", ["kv-group", "ffn-channel", "residual"])
def test_the_first_to_go_is_the_least_of_obs_and_costs_the_same(kind: str) -> None:
    single, greedy = scores(PROGRAM, "obs", kind), scores(PROGRAM, "obs-greedy", kind)
    for name, losses in single.items():
        unit = int(losses.argmin())
        assert int(greedy[name].argmin()) == unit
        assert float(greedy[name][unit]) == pytest.approx(float(losses[unit]), rel=EXACT)


def test_sorting_by_score_gives_the_order_of_removal_even_where_the_growth_falls() -> None:
    order = torch.tensor([2, 0, 4, 3, 1])
    growth = torch.tensor([0.0, 1.0, 0.5, 0.5, 2.0], dtype=torch.float64)
    found = scores_in_order(order, growth)
    assert found.argsort().tolist() == order.tolist()
    assert torch.allclose(found[order], growth.cummax(0).values)


def with_twin(program: Program, layer: int, channel: int, twin: int) -> Program:
    """The same with one channel a copy of another, except for what the layer makes of it."""
    names = [f"model.layers.{layer}.mlp.{n}_proj.weight" for n in ("gate", "up")]
    copies = {name: program.weights[name].clone() for name in names}
    for weight in copies.values():
        weight[twin] = weight[channel]
    return program.with_weights(copies)


@pytest.mark.parametrize("seed", range(3))
def test_one_of_two_equal_channels_costs_next_to_nothing_and_then_the_other_does(seed: int) -> None:
    channel, twin = Random(seed).sample(range(96), 2)
    program = with_twin(PROGRAM, 1, channel, twin)
    name = COUPLING.of_kind("ffn-channel")[1].name
    single = scores(program, "obs", "ffn-channel")[name]
    pair = single[[channel, twin]]
    # What is left is what the ridge asks for.
    assert (pair < 10 * DAMPING * single.median()).all()
    greedy = scores(program, "obs-greedy", "ffn-channel")[name]
    went, stayed = greedy[[channel, twin]].sort().values.tolist()
    assert went < 10 * DAMPING * float(single.median())
    assert stayed > 10 * went


def test_too_little_text_is_told_with_the_numbers_and_scores_stay_finite() -> None:
    said: list[str] = []
    context = Context(calibration=TOKENS[:1, :24], notice=said.append)
    Score("obs-greedy", ("ffn-channel",)).apply(PROGRAM, context)
    assert context.scores is not None
    assert all(torch.isfinite(v).all() for v in context.scores.by_structure.values())
    assert len(said) == 2
    assert "96 inputs and the calibration text 24 tokens: the ridge is 4.0 times" in said[0]


def test_too_little_text_is_met_with_more_ridge() -> None:
    weight, tokens = "model.layers.1.mlp.down_proj.weight", TOKENS[:1, :24]
    x = layer_inputs(PROGRAM, weight, tokens)
    ridge = 96 / 24 * DAMPING * float(x.square().sum(0).mean())
    context = Context(calibration=tokens)
    Score("obs", ("ffn-channel",)).apply(PROGRAM, context)
    assert context.scores is not None
    predicted = context.scores.by_structure[COUPLING.of_kind("ffn-channel")[1].name][7]
    measured = refit_error(x, PROGRAM.weights[weight], torch.tensor([7]), ridge)
    assert float(predicted) == pytest.approx(measured, rel=EXACT)


def test_enough_text_is_not_remarked_on() -> None:
    said: list[str] = []
    context = Context(calibration=TOKENS, notice=said.append)
    Score("obs", ("ffn-channel",)).apply(PROGRAM, context)
    assert not said
