"""Quantised weights: what is unpacked on loading, and what must be unpacked before."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from prunec.frontend.checkpoints.facts import Facts, Stored
from prunec.frontend.checkpoints.findings import Finding, some

PLAIN = ("F64", "F32", "F16", "BF16")
"""Types of plain floating point, in the words of safetensors."""
UNPACKED = ("fp8", "mxfp4")
"""Methods whose weights transformers unpacks on loading, on every machine, where it is told to."""

_REMEDIES = {
    "bitsandbytes": (
        "Unpack them once, where bitsandbytes is installed:\n"
        "     from transformers import AutoModelForCausalLM\n"
        "     AutoModelForCausalLM.from_pretrained(FOLDER).dequantize().save_pretrained(PLAIN)"
    ),
    "compressed-tensors": (
        "Unpack them once, where compressed-tensors is installed:\n"
        "     from transformers import AutoModelForCausalLM, CompressedTensorsConfig\n"
        "     plain = CompressedTensorsConfig(run_compressed=False)\n"
        "     AutoModelForCausalLM.from_pretrained(FOLDER, quantization_config=plain)"
        ".save_pretrained(PLAIN)\n"
        "   and remove quantization_config from PLAIN/config.json"
    ),
}
_ELSE = "Give the model that it was quantised from, in float32, float16 or bfloat16"


def quantisation_method(document: Mapping[str, Any]) -> str | None:
    """How ``config.json`` says that the weights are quantised; None where it says nothing."""
    if document.get("quantization_config") is not None:
        return _method(document["quantization_config"])
    text = document.get("text_config")
    inside = text.get("quantization_config") if isinstance(text, dict) else None
    return f"{_method(inside)} of text_config" if inside else None


def _method(said: Any) -> str:
    if not isinstance(said, dict):
        return str(said)
    if said.get("load_in_8bit") or said.get("load_in_4bit"):
        return "bitsandbytes"
    return str(said.get("quant_method", "unknown"))


def quantised_weights(facts: Facts) -> list[Finding]:
    """Weights that a pruner cannot read, and a configuration that contradicts them."""
    method = quantisation_method(facts.document)
    packed = packed_tensors(facts.tensors)
    if method is None or (method in UNPACKED and not facts.tensors):
        return []
    if method in UNPACKED and packed:
        return _without_scale(facts.tensors, packed)
    there = f"config.json says that the weights are quantised ({method})"
    if facts.tensors and not packed:
        return [
            Finding(
                f"{there}, but {some({t.dtype for t in facts.tensors.values()})} is all that the "
                "files hold",
                "If the weights were unpacked, remove quantization_config from config.json; else "
                "obtain the checkpoint again",
            )
        ]
    return [
        Finding(
            f"{there}, and weights are pruned as plain floating point",
            _REMEDIES.get(method, _ELSE),
        )
    ]


def unpacking(config: Any) -> Any:
    """The same configuration, and that weights are unpacked on loading, whatever the machine."""
    said = getattr(config, "quantization_config", None)
    if not isinstance(said, dict):
        return config
    told = copy.deepcopy(config)
    told.quantization_config = {**said, "dequantize": True}
    return told


def unpacking_gguf() -> dict[str, Any]:
    """What tells the loader of GGUF files the same, where it can keep weights packed at all."""
    import transformers

    kind = getattr(transformers, "GgufConfig", None)
    return {} if kind is None else {"quantization_config": kind(dequantize=True)}


_SCALES = ("_scale_inv", "_scales", "activation_scale")


def _without_scale(tensors: Mapping[str, Stored], packed: Iterable[str]) -> list[Finding]:
    """Packed weights that come without what they are multiplied by."""
    bare = [
        name
        for name in packed
        if not name.endswith(_SCALES)
        and f"{name}_scale_inv" not in tensors
        and f"{name.removesuffix('_blocks')}_scales" not in tensors
    ]
    if not bare:
        return []
    there = f"{len(bare)} quantised weights have no scale in the files: {some(bare)}"
    return [Finding(there, _ELSE)]


def unpacked(tensors: Mapping[str, Stored]) -> Mapping[str, Stored]:
    """The tensors as they are once fp8 and mxfp4 weights are unpacked."""
    plain: dict[str, Stored] = {}
    for name, tensor in tensors.items():
        if name.endswith("_blocks") and len(tensor.shape) == 4:
            experts, outputs, blocks, width = tensor.shape  # two numbers of 4 bits in a byte
            shape = (experts, blocks * width * 2, outputs)
            plain[name.removesuffix("_blocks")] = Stored(shape, "BF16")
        elif not name.endswith(_SCALES):
            plain[name] = Stored(tensor.shape, "BF16")
    return plain


def packed_tensors(tensors: Mapping[str, Stored]) -> list[str]:
    """The tensors that hold no plain floating point, apart from counters and positions."""
    return [name for name, tensor in tensors.items() if tensor.dtype not in (*PLAIN, "I64", "BOOL")]
