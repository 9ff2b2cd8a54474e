"""The tensors in the files are those that the class wants, by name and by shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM as Auto
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, MixtralConfig

from prunec.frontend.sources import SourceError, find_checkpoint
from support.checkpoints import change_json, change_tensors

Tensors = dict[str, Tensor]
LAYER = "model.layers.0."


def prefixed(prefix: str) -> Callable[[Tensors], Mapping[str, Tensor]]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def renamed(old: str, new: str) -> Callable[[Tensors], Mapping[str, Tensor]]:
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


def added(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Callable[..., Tensors]:
    return lambda tensors: {**tensors, name: torch.ones(shape, dtype=dtype)}


def without(name: str) -> Callable[..., Tensors]:
    return lambda tensors: {k: v for k, v in tensors.items() if not k.startswith(name)}


def stored_as(name: str, dtype: torch.dtype) -> Callable[..., Tensors]:
    return lambda tensors: {k: v.to(dtype) if k == name else v for k, v in tensors.items()}


SPOILT: dict[str, tuple[Callable[[Tensors], Mapping[str, Tensor]], str]] = {
    "parallel": (prefixed("module."), "'module.' of DataParallel"),
    "compiled": (prefixed("_orig_mod."), "'_orig_mod.' of torch.compile"),
    "both": (prefixed("module._orig_mod."), "'_orig_mod.' of torch.compile and 'module.' of Data"),
    "compiled layers": (
        renamed("layers.0.", "layers.0._orig_mod."),
        "'_orig_mod.' of torch.compile",
    ),
    "peft": (prefixed("base_model.model."), "'base_model.model.' of PEFT"),
    "another": (prefixed("student.net."), "begins with 'student.net.'"),
    "adapter inside": (added(f"{LAYER}self_attn.q_proj.lora_A.weight", 4, 32), "not merged"),
    "missing": (without(f"{LAYER}mlp."), "lack 3 tensors of LlamaForCausalLM"),
    "bias": (added(f"{LAYER}self_attn.q_proj.bias", 32), "computed without them"),
    "layer too many": (added("model.layers.7.mlp.up_proj.weight", 64, 32), "model.layers.7"),
    "packed": (
        stored_as(f"{LAYER}mlp.up_proj.weight", torch.int8),
        f"packed or 8-bit types.*{LAYER}mlp.up_proj.weight I8",
    ),
    "eight bits": (
        stored_as(f"{LAYER}mlp.up_proj.weight", torch.float8_e4m3fn),
        "packed or 8-bit types.*F8_E4M3",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_tensors_unlike_the_class_are_named(case: str, folder: Path) -> None:
    change, words = SPOILT[case]
    change_tensors(folder / "model.safetensors", change)
    with pytest.raises(SourceError, match=words) as caught:
        find_checkpoint(str(folder))
    assert "cannot be used: " in str(caught.value)  # one reason, not two for one mistake


def test_other_sizes_are_named_with_both(folder: Path) -> None:
    change_json(folder / "config.json", intermediate_size=48)
    with pytest.raises(SourceError, match=r"up_proj\.weight \[\d+, \d+\] where \[48, \d+\]"):
        find_checkpoint(str(folder))


def test_a_head_that_is_not_there_is_missing(folder: Path) -> None:
    change_json(folder / "config.json", tie_word_embeddings=False)
    change_tensors(folder / "model.safetensors", without("lm_head"))
    with pytest.raises(SourceError, match=r"lack 1 tensors of LlamaForCausalLM: lm_head\.weight"):
        find_checkpoint(str(folder))


def test_a_head_of_another_task_is_left_out_and_said(tmp_path: Path) -> None:
    sizes = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    BertForPreTraining(sizes).save_pretrained(tmp_path)
    change_json(tmp_path / "config.json", architectures=[BertForMaskedLM.__name__])
    (note,) = find_checkpoint(str(tmp_path)).notes
    assert "left out" in note
    assert "cls.seq_relationship" in note


def test_a_checkpoint_that_transformers_converts_on_loading_is_accepted(tmp_path: Path) -> None:
    config = MixtralConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
        vocab_size=64,
    )
    Auto.from_config(config).save_pretrained(tmp_path)
    checkpoint = find_checkpoint(str(tmp_path))
    assert checkpoint.notes == ()
    change_tensors(tmp_path / "model.safetensors", without("model.layers.0.block_sparse_moe.e"))
    with pytest.raises(SourceError, match=r"lack .* tensors of MixtralForCausalLM"):
        find_checkpoint(str(tmp_path))
