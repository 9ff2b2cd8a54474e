"""Small checkpoints on disk, as a user would have them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from support.architectures import random_model_of
from support.models import llama_config

_TEXT = ["the cat sat on the mat", "a dog and a cat", "what is the capital of France? Paris."]
_CHAT = "{% for m in messages %}{{ m['content'] }}{% endfor %} "


def write_tokenizer(folder: Path) -> int:
    """Write a byte-level tokenizer with a chat template; returns the size of its vocabulary."""
    fast = _tokenizer(["<end>"], eos_token="<end>", pad_token="<end>")
    fast.chat_template = _CHAT
    fast.save_pretrained(folder)
    return len(fast)


def write_encoder_tokenizer(folder: Path) -> int:
    """Write one that puts ``[CLS]`` and ``[SEP]`` around a text; returns its vocabulary's size."""
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = _tokenizer([*special.values()], **special)
    fast.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast.save_pretrained(folder)
    return len(fast)


def _tokenizer(special_tokens: list[str], **roles: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = ByteLevelDecoder()  # type: ignore[assignment]
    trainer = BpeTrainer(
        vocab_size=288,
        special_tokens=special_tokens,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


def write_llama(folder: Path, seed: int = 0) -> Path:
    """Write a random model of `llama_config` with its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = llama_config(vocab_size=write_tokenizer(folder), bos_token_id=0, eos_token_id=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def write_text_model(folder: Path, config: PreTrainedConfig, seed: int = 0) -> Path:
    """Write a random model that its configuration names, with a tokenizer of its kind."""
    folder.mkdir(parents=True, exist_ok=True)
    is_encoder = isinstance(config, BertConfig)
    config.vocab_size = (write_encoder_tokenizer if is_encoder else write_tokenizer)(folder)
    random_model_of(config, seed).save_pretrained(folder)
    return folder


def change_json(path: Path, **changes: Any) -> None:
    """Set entries of a JSON object in a file; None removes one."""
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))


def change_tensors(
    path: Path, change: Callable[[dict[str, torch.Tensor]], Mapping[str, torch.Tensor]]
) -> None:
    """Write a safetensors file again with other tensors."""
    tensors = {name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def change_header(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write a safetensors file again with another header and the same data."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
