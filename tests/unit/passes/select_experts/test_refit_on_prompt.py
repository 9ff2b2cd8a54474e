"""The refit inside the graph against least squares straight from the formula, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from prunec.backends.torch import ExpertsRunner
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import PREFILL, Program, execute, language_feeds, verify
from prunec.passes.surgery import SelectExperts
from support.architectures import architecture_program, random_model
from support.griffin import FEED_FORWARD
from support.oracle import relative_error

ROUNDING = 1e-4  # float32 under a ridge of a hundredth
RIDGE, SHARE = 0.01, 0.3
TEXT = torch.randint(3, 60, (6, 32), generator=torch.Generator().manual_seed(5))
PADDING = (0, 3)
MODELS = ["llama", "opt", "gpt2"]  # without a bias, with one, and stored as [in, out]


def prompt() -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(3, 60, (2, 12), generator=torch.Generator().manual_seed(6))
    mask = torch.ones_like(tokens)
    for row, padding in enumerate(PADDING):
        mask[row, :padding] = 0
    return tokens, mask


def select(name: str, **options: object) -> Program:
    program = architecture_program(name, torch.float32)
    given = SelectExperts(multiple=4, **options)  # type: ignore[arg-type]
    after = given.apply(program, Context(calibration=TEXT))
    verify(after, program)
    return after


def run_prompt(program: Program) -> dict[str, torch.Tensor]:
    entry = program.entries[PREFILL]
    return execute(program, language_feeds(entry, *prompt()), entry)


@torch.no_grad()
def inputs_of(model: Any, module: nn.Module, tokens: torch.Tensor, mask: Any) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    hook = module.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    accepts = {} if model.config.model_type == "opt" else {"position_ids": positions}
    model(input_ids=tokens, attention_mask=mask, **accepts)
    hook.remove()
    return seen[0].reshape(*tokens.shape, -1)[mask.bool()].double()


def expected(
    name: str, layer: int, units: torch.Tensor, share: float, rank: int = 0
) -> torch.Tensor:
    """[in, out] by the formula of `RefitOnPrompt`."""
    model = random_model(name)
    modules = dict(model.named_modules())
    module = [m for n, m in modules.items() if n.endswith(f".{FEED_FORWARD[name][1]}")][layer]
    weight = module.weight.detach().double()
    matrix = weight if isinstance(module, nn.Linear) else weight.T  # [out, in]
    known = inputs_of(model, module, TEXT, torch.ones_like(TEXT))
    here = inputs_of(model, module, *prompt())
    before = known.T @ known / len(known)
    if rank:
        u, values, _ = torch.linalg.svd(before)
        strong = u[:, :rank] * values[:rank] @ u[:, :rank].T
        before = strong + torch.diag((before - strong).diagonal())
    moments = (1 - share) * before + share * here.T @ here / len(here)
    inside = moments[units][:, units]
    ridge = torch.diag(RIDGE * inside.diagonal())
    right = moments[units] @ matrix.T + ridge @ matrix[:, units].T
    return torch.linalg.solve(inside + ridge, right)


@pytest.mark.parametrize("refit", ["prompt", "calibration"])
@pytest.mark.parametrize("name", MODELS)
def test_the_chosen_columns_are_the_ridge_solution(name: str, refit: str) -> None:
    program = select(name, refit=refit, prompt_share=SHARE, ridge=RIDGE)
    outputs = run_prompt(program)
    summing = [n for n in outputs if FEED_FORWARD[name][1] in n and n.endswith("weight")]
    assert len(summing) == 2
    for layer, port in enumerate(summing):
        units = outputs[f"experts.{layer}.indices"]
        wanted = expected(name, layer, units, SHARE if refit == "prompt" else 0.0)
        assert relative_error(outputs[port].double().mT, wanted) < ROUNDING


@pytest.mark.parametrize("per_sequence", [False, True])
def test_with_few_directions_it_is_the_solution_for_these_and_the_diagonal(
    per_sequence: bool,
) -> None:
    options = {"refit": "calibration", "ridge": RIDGE, "rank": 6, "per_sequence": per_sequence}
    outputs = run_prompt(select("llama", **options))
    for layer in range(2):
        units = outputs[f"experts.{layer}.indices"]
        found = outputs[f"experts.model.layers.{layer}.mlp.down_proj.weight"].double()
        rows = zip(units, found, strict=True) if per_sequence else [(units, found)]
        for own, matrix in rows:
            wanted = expected("llama", layer, own, 0.0, rank=6)
            assert relative_error(matrix.mT, wanted) < ROUNDING


def test_only_the_summing_matrices_change_and_no_index() -> None:
    plain, refitted = run_prompt(select("llama")), run_prompt(select("llama", refit="prompt"))
    for port, value in plain.items():
        assert torch.equal(value, refitted[port]) != ("experts" in port and "down_proj" in port)


def test_rows_with_their_own_units_are_refitted_alone() -> None:
    options = {"refit": "prompt", "prompt_share": SHARE}
    together = ExpertsRunner(select("llama", per_sequence=True, **options))
    alone = ExpertsRunner(select("llama", **options))
    tokens, mask = prompt()
    _, cache = together.step(tokens[:, :9], mask[:, :9], None)
    logits, _ = together.step(tokens[:, 9:], mask, cache)
    for row, padding in enumerate(PADDING):
        own, real = tokens[row : row + 1, padding:], mask[row : row + 1, padding:]
        _, cache = alone.step(own[:, : 9 - padding], real[:, : 9 - padding], None)
        wanted, _ = alone.step(own[:, 9 - padding :], real, cache)
        assert relative_error(logits[row : row + 1], wanted) < ROUNDING


def test_inputs_that_are_silent_do_no_harm() -> None:
    program = architecture_program("opt", torch.float32)
    silent = {n: torch.zeros_like(w) for n, w in program.weights.items() if ".fc1." in n}
    after = SelectExperts(multiple=4, refit="prompt").apply(
        program.with_weights(silent), Context(calibration=TEXT)
    )
    assert all(torch.isfinite(value).all() for value in run_prompt(after).values())


def test_it_needs_text_and_a_ridge() -> None:
    program = architecture_program("llama", torch.float32)
    with pytest.raises(PassError, match="refit=calibration needs calibration text"):
        SelectExperts(multiple=4, refit="calibration").apply(program, Context())
    with pytest.raises(ValueError, match="ridge=0"):
        SelectExperts(ridge=0)
    with pytest.raises(ValueError, match="rank=-1"):
        SelectExperts(rank=-1)
