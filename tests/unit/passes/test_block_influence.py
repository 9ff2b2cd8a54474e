from __future__ import annotations

import pytest
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.importance import Score
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program
from support.architectures import architecture_program
from support.configs.sizes import VOCABULARY
from support.models import random_tokens, small_model, small_program

PROGRAM = small_program(torch.float64)
TOKENS = random_tokens(10, 12) % VOCABULARY
SINGLE = 1e-5  # the reference computes in float32


def influence(program: Program) -> torch.Tensor:
    context = Context(calibration=TOKENS)
    Score("block-influence", ("layer",)).apply(program, context)
    assert context.scores is not None
    (values,) = context.scores.by_structure.values()
    return values


def test_feed_forward_branches_turn_the_stream_as_the_model_says() -> None:
    model = small_model()
    seen: list[torch.Tensor] = []
    handles = [
        layer.post_attention_layernorm.register_forward_pre_hook(
            lambda m, given: seen.append(given[0])
        )
        for layer in model.model.layers
    ]
    after: list[torch.Tensor] = []
    handles += [
        layer.register_forward_hook(lambda m, given, result: after.append(result))
        for layer in model.model.layers
    ]
    with torch.no_grad():
        model(TOKENS)
    for handle in handles:
        handle.remove()
    cosines = [
        torch.cosine_similarity(b, a, dim=-1).mean() for b, a in zip(seen, after, strict=True)
    ]
    expected = 1 - torch.stack(cosines).double()
    assert torch.allclose(influence(PROGRAM)[1::2], expected, atol=SINGLE)


def test_a_branch_that_adds_nothing_scores_nothing() -> None:
    name = "model.layers.1.self_attn.o_proj.weight"
    silent = PROGRAM.with_weights({name: torch.zeros_like(PROGRAM.weights[name])})
    found = influence(silent)
    assert abs(float(found[2])) < 1e-12
    assert (found[[0, 1, 3]] > 0.001).all()


def test_every_branch_of_another_architecture_is_scored() -> None:
    program = architecture_program("gpt2")
    (layers,) = find_structures(program).of_kind("layer")
    found = influence(program)
    assert found.shape == (layers.size,)
    assert (found > 0).all()


def test_a_stream_that_is_not_finite_is_named() -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    second = find_structures(PROGRAM).branches[0].branches[1]
    broken = PROGRAM.with_weights({name: torch.full_like(PROGRAM.weights[name], torch.nan)})
    with pytest.raises(PassError, match=f"stream at {second.add.name} is not finite"):
        influence(broken)


def test_only_layers_are_scored_by_it_and_layers_by_nothing_else() -> None:
    with pytest.raises(ValueError, match="kinds=layer and no other"):
        Score("block-influence", ("layer", "ffn-channel"))
    with pytest.raises(ValueError, match="criterion=block-influence"):
        Score("wanda", ("layer",))
