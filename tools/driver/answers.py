"""Let a model answer a question, so that a person can see what became of it."""

from __future__ import annotations

from typing import Any

import torch

from prunec.backends.runner import Runner, generate


def answer(runner: Runner, tokenizer: Any, prompt: str, new_tokens: int) -> str:
    """Continue a prompt greedily, in the chat template where the tokenizer has one.

    Args:
        runner: The model.
        tokenizer: Its tokenizer (transformers).
        prompt: What the user says.
        new_tokens: The most that are added.
    """
    tokens = torch.tensor([encode_prompt(tokenizer, prompt)], dtype=torch.int64)
    added = generate(runner, tokens, new_tokens=new_tokens, stop=tokenizer.eos_token_id)
    return str(tokenizer.decode(added[0], skip_special_tokens=True)).strip()


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """The tokens of a prompt, as the model expects to be spoken to."""
    if not getattr(tokenizer, "chat_template", None):
        return list(tokenizer.encode(prompt))
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return list(tokenizer.encode(text, add_special_tokens=False))
