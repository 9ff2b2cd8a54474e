"""Turn new tokens into text while they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_UNFINISHED = "\ufffd"  # what a tokenizer writes for bytes that are no whole character
_CONTEXT_TOKENS = 8  # before the new ones: enough to tell whether a blank comes between


class StreamDecoder:
    """Turn tokens into text one at a time.

    A token may be a part of a character, and what it is written as may depend on the token
    before it. So all tokens are decoded each time, after the end of the prompt, and what is new
    and will not change is handed out.

    Args:
        tokenizer: Of transformers.
        prompt: The tokens that come before.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(prompt[-_CONTEXT_TOKENS:])
        self._shown = len(self._decode())

    def push(self, token: int) -> str:
        """The text that this token completes; empty while it is a part of a character."""
        self._tokens.append(token)
        return self._hand_out(self._decode().rstrip(_UNFINISHED))

    def finish(self) -> str:
        """What is left: a character that was never completed, as a replacement character."""
        return self._hand_out(self._decode())

    def _hand_out(self, text: str) -> str:
        new = text[self._shown :]
        self._shown += len(new)
        return new

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(
            self._tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text
