"""Let a model answer a question, so that a person can see what became of it."""

from __future__ import annotations

from typing import Any

from prunec.backends.generation import generate_text
from prunec.backends.runner import Runner


def answer(runner: Runner, tokenizer: Any, prompt: str, new_tokens: int) -> str:
    """Continue a prompt greedily, in the chat template where the tokenizer has one.

    Args:
        runner: The model.
        tokenizer: Its tokenizer (transformers).
        prompt: What the user says.
        new_tokens: The most that are added.
    """
    chat = bool(getattr(tokenizer, "chat_template", None))
    (found,) = generate_text(runner, tokenizer, [prompt], new_tokens=new_tokens, chat=chat)
    return found.text.strip()
