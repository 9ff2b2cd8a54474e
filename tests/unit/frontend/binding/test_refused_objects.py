"""Models whose weights are no plain numbers, or whose calls are not their own, are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from prunec.frontend.binding.plain import require_known
from prunec.frontend.export import ExportError, trace_model
from support.architectures import random_model_of, traced_architecture
from support.configs.decoders import DECODERS
from support.models import llama_config
from support.required import marked


def layer(model: Any) -> Any:
    return model.model.layers[0].mlp.up_proj


def frozen(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


class Linear8bit(nn.Linear):
    """As bitsandbytes makes them: an int8 weight, its scale in a state of its own."""

    def __init__(self, before: nn.Linear) -> None:
        super().__init__(before.in_features, before.out_features, bias=False)
        self.scale = before.weight.detach().abs().max() / 127
        self.weight = frozen((before.weight.detach() / self.scale).round().to(torch.int8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.weight.float() * self.scale).T


class PackedParameter(nn.Parameter):
    """A parameter of a class of its own, as quantisers have them."""


def to_int8(model: Any) -> None:
    model.model.layers[0].mlp.up_proj = Linear8bit(layer(model))


def to_packed_4_bits(model: Any) -> None:
    layer(model).weight = frozen(torch.zeros(1, 96 * 60 // 2, dtype=torch.uint8))


def to_float8(model: Any) -> None:
    module = layer(model)
    scale = module.weight.detach().abs().max() / 448
    module.weight_scale_inv = frozen(scale)
    module.weight = frozen((module.weight.detach() / scale).to(torch.float8_e4m3fn))


def to_scaled(model: Any) -> None:
    layer(model).weight_scale_inv = frozen(torch.full((1,), 2.0))


def to_scaled_by_a_buffer(model: Any) -> None:
    layer(model).register_buffer("scales", torch.ones(3, 2))


def to_a_class_of_its_own(model: Any) -> None:
    layer(model).weight = PackedParameter(layer(model).weight.detach())


def to_layers_of_a_quantiser(model: Any) -> None:
    model.config.quantization_config = {"quant_method": "fp8"}
    model.model.layers[0].mlp.up_proj = nn.Sequential(layer(model))


def offload(model: Any) -> None:
    layer(model).to("meta")


def parametrise(model: Any) -> None:
    parametrizations.weight_norm(layer(model))


def prune_by_a_mask(model: Any) -> None:
    prune.l1_unstructured(layer(model), "weight", 0.5)


def prune_by_two_masks(model: Any) -> None:
    prune_by_a_mask(model)
    prune.random_unstructured(layer(model), "weight", 0.2)


def norm_weights(model: Any) -> None:
    nn.utils.weight_norm(layer(model))  # the old form, by a hook


def norm_the_spectrum(model: Any) -> None:
    nn.utils.spectral_norm(layer(model))


def hook(model: Any) -> None:
    layer(model).register_forward_hook(lambda module, arguments, result: 2 * result)


def hook_before(model: Any) -> None:
    layer(model).register_forward_pre_hook(lambda module, arguments: (2 * arguments[0],))


def replace_forward(model: Any) -> None:
    module = layer(model)
    before = module.forward
    module.forward = lambda x: 2 * before(x)


def merged_adapter_left_behind(model: Any) -> None:
    layer(model).lora_A = nn.Linear(60, 4, bias=False)


REFUSED: dict[Callable[[Any], None], str] = {
    to_int8: r"up_proj.weight is int8 .*Dequantise",
    to_packed_4_bits: r"up_proj.weight is uint8 .*Dequantise",
    to_float8: r"up_proj.weight is float8_e4m3fn .*Dequantise",
    to_scaled: r"weight_scale_inv.*nothing reads.*dequantise",
    to_scaled_by_a_buffer: r"scales.*nothing reads.*dequantise",
    to_a_class_of_its_own: r"kept as PackedParameter.*Dequantise",
    to_layers_of_a_quantiser: r"is a Sequential, .*Dequantise",
    offload: r"is not in memory.*device_map",
    parametrise: r"parametrisation.*remove_parametrizations",
    prune_by_a_mask: r"up_proj computes \['weight'\].*prune.remove",
    prune_by_two_masks: r"up_proj computes \['weight'\].*prune.remove",
    norm_weights: r"up_proj computes \['weight'\].*remove_weight_norm",
    norm_the_spectrum: r"up_proj computes \['weight'\].*remove_spectral_norm",
    hook: r"up_proj has a hook .*[Rr]emove it",
    hook_before: r"up_proj has a hook .*[Rr]emove it",
    replace_forward: r"forward of model.layers.0.mlp.up_proj was replaced",
    merged_adapter_left_behind: r"lora_A.*merge",
}


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")
@pytest.mark.parametrize("change", REFUSED)
def test_a_model_that_is_not_plain_is_refused_with_what_to_do(
    change: Callable[[Any], None],
) -> None:
    model = random_model_of(llama_config())
    change(model)
    with pytest.raises(ExportError, match=REFUSED[change]):
        trace_model(model)


@pytest.mark.parametrize("wrap", [partial(torch.compile, backend="eager"), nn.DataParallel])
def test_a_wrapper_is_refused_with_where_the_model_inside_is(wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(ExportError, match=r"no model of transformers.*_orig_mod.*model\.module"):
        trace_model(wrap(random_model_of(llama_config())))


def test_hooks_that_transformers_itself_sets_are_allowed() -> None:
    model = random_model_of(llama_config())
    model(input_ids=torch.tensor([[3, 4]]), output_hidden_states=True, output_attentions=True)
    assert trace_model(model).origin["class"] == "LlamaForCausalLM"


WITHOUT_CACHE = ("openai-gpt", "xlnet")


@pytest.mark.parametrize("name", marked([n for n in DECODERS if n not in WITHOUT_CACHE]))
def test_a_parameter_that_no_program_reads_is_found_in_every_decoder(name: str) -> None:
    model, program = traced_architecture(name)
    described = dict(model.named_parameters()) | dict(model.named_buffers())
    require_known(program, model, described)
    head = model.get_output_embeddings()
    head.register_parameter("weight_scale_inv", frozen(torch.ones(1)))
    try:
        with pytest.raises(ExportError, match="weight_scale_inv"):
            require_known(program, model, described)
    finally:
        del head.weight_scale_inv
