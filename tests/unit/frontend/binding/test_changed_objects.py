"""A model that was changed since its configuration was written is traced as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from prunec.frontend.export import ExportError, bind_weights, trace_config, trace_model
from prunec.passes.ir import Program, execute, language_feeds
from support.architectures import ARCHITECTURES, random_model_of
from support.configs.decoders import DECODERS
from support.configs.experts import EXPERT_DECODERS
from support.models import llama_config
from support.oracle import relative_error
from support.required import marked

ROUNDING = 1e-5
WITHOUT_CACHE = ("openai-gpt", "xlnet")
TOKENS = torch.tensor([[3, 9, 27, 17, 51, 25, 11, 33], [5, 7, 49, 23, 41, 31, 29, 13]])


def small_model(**changes: Any) -> Any:
    return random_model_of(llama_config(**changes))


@torch.no_grad()
def distance(program: Program, model: Any) -> float:
    """How far the program's logits are from the model's."""
    feeds = language_feeds(program.main, TOKENS)
    return relative_error(execute(program, feeds)["logits"], model(input_ids=TOKENS).logits)


def with_head_of_its_own(name: str) -> Any:
    """The configuration says tied; the object has a head of its own, and a bias in it."""
    config = ARCHITECTURES[name]()
    config.tie_word_embeddings = True
    model = random_model_of(config)
    before = model.get_output_embeddings()
    head = nn.Linear(before.in_features, before.out_features, bias=True)
    nn.init.normal_(head.weight, std=0.1)
    nn.init.normal_(head.bias)
    model.set_output_embeddings(head)
    return model


@pytest.mark.parametrize(
    "name", marked([n for n in (*DECODERS, *EXPERT_DECODERS) if n not in WITHOUT_CACHE])
)
def test_an_own_head_with_a_bias_is_in_the_program_though_the_configuration_says_tied(
    name: str,
) -> None:
    model = with_head_of_its_own(name)
    head = model.get_output_embeddings()
    if model._can_set_experts_implementation():
        model.set_experts_implementation("eager")
    program = trace_model(model)
    assert distance(program, model) < ROUNDING
    bound = [w.data_ptr() for w in program.weights.values()]
    assert head.weight.data_ptr() in bound
    assert head.bias.data_ptr() in bound


def tie_by_hand(model: Any) -> None:
    model.lm_head.weight = model.model.embed_tokens.weight


def tie_by_memory(model: Any) -> None:
    model.lm_head.weight.data = model.model.embed_tokens.weight.data


@pytest.mark.parametrize("tie", [tie_by_hand, tie_by_memory])
def test_a_head_tied_after_loading_is_one_weight_of_the_program(tie: Callable[[Any], None]) -> None:
    model = small_model(tie_word_embeddings=False)
    tie(model)
    program = trace_model(model)
    assert distance(program, model) < ROUNDING
    assert len({"lm_head.weight", "model.embed_tokens.weight"} & program.weights.keys()) == 1


class Doubled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.inner(x)


class Adapted(nn.Module):
    """A layer with an adapter beside it that was not merged."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner
        self.down = nn.Linear(inner.in_features, 4, bias=False)
        self.up = nn.Linear(4, inner.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + self.up(self.down(x))


def other_activation(model: Any) -> None:
    for layer in model.model.layers:
        layer.mlp.act_fn = nn.ReLU()


def other_scale(model: Any) -> None:
    for layer in model.model.layers:
        layer.self_attn.scaling = 0.5


def other_epsilon(model: Any) -> None:
    model.model.norm.variance_epsilon = 1.0


def other_rotary_table(model: Any) -> None:
    model.model.rotary_emb.inv_freq *= 0.5


def wrapped_layer(model: Any) -> None:
    model.model.layers[0].mlp = Doubled(model.model.layers[0].mlp)


def adapter(model: Any) -> None:
    attention = model.model.layers[1].self_attn
    attention.q_proj = Adapted(attention.q_proj)


def bound_method(model: Any) -> None:
    norm = model.model.norm
    norm.forward = (lambda self, x: 3 * x).__get__(norm)


CHANGES = [
    other_activation,
    other_scale,
    other_epsilon,
    other_rotary_table,
    wrapped_layer,
    adapter,
    bound_method,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_after_loading_is_in_the_program(change: Callable[[Any], None]) -> None:
    model, unchanged = small_model(), small_model()
    change(model)
    program = trace_model(model)
    assert distance(program, model) < ROUNDING
    assert distance(program, unchanged) > 1e-3


def test_the_model_that_was_given_stays_as_it_is() -> None:
    model = small_model().train()
    before = {name: (id(t), t.clone()) for name, t in model.state_dict(keep_vars=True).items()}
    program = trace_model(model, torch.bfloat16)
    assert all(w.dtype == torch.bfloat16 for w in program.parameters().values())
    assert model.training
    assert model.model.layers[0].mlp.training
    after = model.state_dict(keep_vars=True)
    assert before.keys() == after.keys()
    for name, (identity, value) in before.items():
        assert id(after[name]) == identity
        assert torch.equal(after[name], value)
        assert after[name].requires_grad


def test_weights_of_the_same_type_are_shared_with_the_model() -> None:
    model = small_model()
    weights = trace_model(model).weights
    for name, parameter in model.named_parameters(remove_duplicate=False):
        assert name not in weights or weights[name].data_ptr() == parameter.data_ptr()


def test_a_model_in_another_type_is_compared_in_the_wider_one() -> None:
    model = small_model().to(torch.bfloat16)
    program = trace_model(model, torch.float32)
    assert distance(program, model.float()) < ROUNDING


UNTIED: dict[str, tuple[dict[str, Any], Callable[[Any], None], str]] = {
    "a head of its own": (
        {"tie_word_embeddings": True},
        lambda m: setattr(m.lm_head, "weight", nn.Parameter(m.lm_head.weight.clone())),
        "does not read",
    ),
    "a bias": (
        {},
        lambda m: m.lm_head.register_parameter("bias", nn.Parameter(torch.ones(128))),
        r"lm_head.bias.*does not read",
    ),
    "one tensor for two weights": (
        {"tie_word_embeddings": False},
        tie_by_hand,
        "one loaded tensor",
    ),
    "another shape": (
        {"tie_word_embeddings": False},
        lambda m: setattr(m.lm_head, "weight", nn.Parameter(torch.ones(130, 60))),
        r"\[130, 60\] as loaded and \[128, 60\]",
    ),
}


@pytest.mark.parametrize("case", UNTIED)
def test_weights_that_a_traced_configuration_does_not_describe_are_not_bound(case: str) -> None:
    options, change, message = UNTIED[case]
    model = small_model(**options)
    program = trace_config(model.config)
    bind_weights(program, model, torch.float32)
    change(model)
    with pytest.raises(ExportError, match=message):
        bind_weights(program, model, torch.float32)
