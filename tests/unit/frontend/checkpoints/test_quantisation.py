"""Quantised weights are refused in words, or unpacked on loading to the very numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GptOssConfig, GptOssForCausalLM

from prunec.frontend.sources import SourceError, find_checkpoint, find_config
from support.checkpoints import change_json, change_tensors

REFUSED: dict[str, dict[str, Any]] = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 32},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True},
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "compressed-tensors": {"quant_method": "compressed-tensors", "format": "pack-quantized"},
    "of tomorrow": {"quant_method": "of tomorrow"},
    "unknown": {"bits": 4},
}
FP8 = {"quant_method": "fp8", "weight_block_size": [4, 4]}


def pack(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: (tensor * 100).to(torch.int8) if "proj" in name else tensor
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize("method", REFUSED)
def test_packed_weights_are_refused_with_what_to_do(method: str, folder: Path) -> None:
    change_json(folder / "config.json", quantization_config=REFUSED[method])
    change_tensors(folder / "model.safetensors", pack)
    with pytest.raises(SourceError) as caught:
        find_checkpoint(str(folder))
    said = str(caught.value)
    assert f"quantised ({method}), and weights are pruned as plain floating point" in said
    assert "Unpack them once" in said or "Give the model that it was quantised from" in said


@pytest.mark.parametrize("config", [*REFUSED.values(), FP8])
def test_a_configuration_that_contradicts_the_files_is_refused(
    config: dict[str, Any], folder: Path
) -> None:
    change_json(folder / "config.json", quantization_config=config)
    with pytest.raises(SourceError, match="but F32 is all that the files hold"):
        find_checkpoint(str(folder))


def test_what_can_be_cut_from_a_quantised_model_can_be_explained(folder: Path) -> None:
    change_json(folder / "config.json", quantization_config=REFUSED["gptq"])
    assert find_config(str(folder)).model_type == "llama"


def write_fp8(folder: Path) -> dict[str, Tensor]:
    """Quantise the projections by blocks of 4 × 4; returns the numbers that are meant."""
    meant: dict[str, Tensor] = {}

    def quantise(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        stored: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            meant[name] = stored[name] = tensor
            if "proj" in name:
                rows, columns = tensor.shape
                blocks = tensor.reshape(rows // 4, 4, columns // 4, 4)
                scale = blocks.abs().amax((1, 3), keepdim=True) / 448
                eight = (blocks / scale).to(torch.float8_e4m3fn)
                meant[name] = (eight.float() * scale).reshape(rows, columns)
                stored[name] = eight.reshape(rows, columns)
                stored[f"{name}_scale_inv"] = scale[:, 0, :, 0]
        return stored

    change_json(folder / "config.json", quantization_config=FP8)
    change_tensors(folder / "model.safetensors", quantise)
    return meant


def pretend_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))


@pytest.mark.parametrize("gpu", [False, True])
def test_fp8_weights_are_unpacked_on_every_machine(
    gpu: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = write_fp8(folder)
    checkpoint = find_checkpoint(str(folder))
    if gpu:
        pretend_gpu(monkeypatch)
    loaded = checkpoint.load_model().state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in meant.items())
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}


def test_fp8_weights_without_their_scales_are_refused(folder: Path) -> None:
    write_fp8(folder)
    change_tensors(
        folder / "model.safetensors",
        lambda tensors: {k.replace("_scale_inv", "_scale"): v for k, v in tensors.items()},
    )
    with pytest.raises(SourceError, match="quantised weights have no scale"):
        find_checkpoint(str(folder))


FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])


def write_mxfp4(folder: Path) -> dict[str, Tensor]:
    """Write a random model with experts in MXFP4; returns the numbers that are meant."""
    config = GptOssConfig(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        num_local_experts=2,
        num_experts_per_tok=1,
        vocab_size=64,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        pad_token_id=0,
        eos_token_id=1,
    )
    GptOssForCausalLM(config).save_pretrained(folder)
    change_json(folder / "config.json", quantization_config={"quant_method": "mxfp4"})
    meant = load_file(folder / "model.safetensors")
    stored = dict(meant)
    for name in [name for name in meant if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = stored.pop(name).shape
        codes = torch.randint(0, 16, (experts, outputs, inputs))
        scales = torch.randint(120, 124, (experts, outputs, inputs // 32))
        pairs = codes[..., 0::2] | (codes[..., 1::2] << 4)
        stored[f"{name}_blocks"] = pairs.to(torch.uint8).reshape(*scales.shape, 16)
        stored[f"{name}_scales"] = scales.to(torch.uint8)
        numbers = torch.cat([FP4, -FP4])[codes].reshape(*scales.shape, 32)
        numbers = numbers * 2.0 ** (scales - 127)[..., None]
        meant[name] = numbers.reshape(experts, outputs, inputs).transpose(1, 2)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return meant


def test_mxfp4_weights_are_unpacked(tmp_path: Path) -> None:
    meant = write_mxfp4(tmp_path)
    loaded = find_checkpoint(str(tmp_path)).load_model().state_dict()
    assert loaded.keys() == meant.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in meant.items())


def test_mxfp4_weights_of_other_sizes_are_refused(tmp_path: Path) -> None:
    write_mxfp4(tmp_path)
    change_json(tmp_path / "config.json", intermediate_size=96)
    with pytest.raises(SourceError, match="have other sizes than GptOssForCausalLM"):
        find_checkpoint(str(tmp_path))
