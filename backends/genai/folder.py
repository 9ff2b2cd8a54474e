"""Complete a folder with ``model.onnx`` so that onnxruntime-genai loads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from prunec.passes.ir import Port, Program, Role, replaced_file

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


class GenaiError(Exception):
    """A folder cannot be completed for onnxruntime-genai."""


def write_genai_folder(
    program: Program, folder: Path, *, model: str = "model.onnx", tokenizer: Path | None = None
) -> Path:
    """Write ``genai_config.json``, and the tokenizer where one is given, beside the model.

    Layers may differ in KV heads and head widths: onnxruntime-genai (0.18 and later) reads those
    from the model's inputs, the configuration holds those of the first layer.

    Args:
        program: What the model was exported from.
        folder: Holds the model.
        model: The model's file name.
        tokenizer: A folder written by ``tokenizer.save_pretrained``.

    Returns:
        The configuration's path.

    Raises:
        GenaiError: there is no model or no tokenizer, the program has no KV cache, its keys and
            values differ in width, or it does not tell which token ends a text.
    """
    if not (folder / model).is_file():
        raise GenaiError(f"{folder} has no {model}: export the program to ONNX first")
    config = _config(program, model)
    if tokenizer is not None:
        _copy_tokenizer(tokenizer, folder)
    target = folder / "genai_config.json"
    with replaced_file(target) as partial:
        partial.write_text(json.dumps(config, indent=2) + "\n")
    return target


def _copy_tokenizer(source: Path, folder: Path) -> None:
    if not (source / "tokenizer.json").is_file():
        raise GenaiError(
            f"{source} has no tokenizer.json, which onnxruntime-genai reads: put it there, from "
            "the checkpoint that the model was made from"
        )
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _config(program: Program, model: str) -> dict[str, Any]:
    facts = program.origin
    # A model without a table of positions reads texts of any length.
    context_length = facts.get("max_position_embeddings") or 2048
    end, pad, begin = (facts.get(f"{name}_token_id") for name in ("eos", "pad", "bos"))
    if end is None:
        raise GenaiError(
            "the program does not tell which token ends a text, and without one onnxruntime-genai "
            "would end texts at token 0: put eos_token_id into the program's origin"
        )
    first_end = end[0] if isinstance(end, (list, tuple)) else end
    return {
        "model": {
            "type": "decoder",  # any decoder; the architecture is in the graph
            "bos_token_id": begin if begin is not None else first_end,
            "eos_token_id": list(end) if isinstance(end, (list, tuple)) else end,
            "pad_token_id": pad if pad is not None else first_end,
            "context_length": context_length,
            "vocab_size": _logits(program).shape[-1],
            "decoder": _decoder(program, model),
        },
        "search": {
            "max_length": context_length,
            # The cache grows by a concatenation, it is not written in place.
            "past_present_share_buffer": False,
            "do_sample": False,
            "num_beams": 1,
            "temperature": 1.0,
            "top_k": 1,
            "top_p": 1.0,
        },
    }


def _decoder(program: Program, model: str) -> dict[str, Any]:
    keys = _keys(program)
    others = {p.role: p.name for p in program.main.inputs if p.role is not Role.CACHE}
    names = {
        "input_ids": others[Role.TOKENS],
        "attention_mask": others[Role.MASK],
        "position_ids": others.get(Role.POSITIONS),
    }
    inputs = {kind: name for kind, name in names.items() if name is not None}
    return {
        "filename": model,
        "head_size": keys[0].shape[3],
        "hidden_size": _hidden_size(program),
        "num_attention_heads": next(_query_heads(program), keys[0].shape[1]),
        "num_hidden_layers": len(keys),
        "num_key_value_heads": keys[0].shape[1],
        "inputs": inputs
        | {
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": _logits(program).name,
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
    }


def _keys(program: Program) -> list[Port]:
    """The cache inputs that hold keys, one a layer."""
    cache = {p.name: p for p in program.main.ports(Role.CACHE)[0]}
    keys = [p for name, p in cache.items() if name.endswith(".key")]
    if not keys:
        raise GenaiError("the program has no KV cache: onnxruntime-genai generates with one")
    for key in keys:
        value = cache[key.name.removesuffix("key") + "value"]
        if value.shape != key.shape:
            raise GenaiError(
                f"{value.name} has heads of {value.shape[3]} and its keys have {key.shape[3]}: "
                "onnxruntime-genai allocates both alike. Keep the widths of values and keys equal"
            )
    return keys


def _logits(program: Program) -> Port:
    (logits,) = program.main.ports(Role.LOGITS)[1]
    return logits


def _hidden_size(program: Program) -> int:
    """The width of what the embedding gives, [batch, token, hidden]."""
    for node in program.main.graph.nodes:
        if node.target is torch.ops.aten.embedding.default:
            return int(node.meta["val"].shape[-1])
    raise GenaiError("the program has no token embedding")


def _query_heads(program: Program) -> Iterator[int]:
    for node in program.main.graph.nodes:
        if node.target is torch.ops.aten.scaled_dot_product_attention.default:
            yield int(node.args[0].meta["val"].shape[1])
