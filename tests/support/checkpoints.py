"""Small checkpoints on disk, as a user would have them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from support.models import llama_config

_TEXT = ["the cat sat on the mat", "a dog and a cat", "what is the capital of France? Paris."]
_CHAT = "{% for m in messages %}{{ m['content'] }}{% endfor %} "


def write_tokenizer(folder: Path) -> int:
    """Write a byte-level tokenizer with a chat template; returns the size of its vocabulary."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = ByteLevelDecoder()  # type: ignore[assignment]
    trainer = BpeTrainer(
        vocab_size=288,
        special_tokens=["<end>"],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.pad_token = "<end>"
    fast.chat_template = _CHAT
    fast.save_pretrained(folder)
    return len(fast)


def write_llama(folder: Path, seed: int = 0) -> Path:
    """Write a random model of `llama_config` with its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    config = llama_config(vocab_size=write_tokenizer(folder), bos_token_id=0, eos_token_id=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
