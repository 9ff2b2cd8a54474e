"""Write text with a runner and a tokenizer: a batch at once, or one prompt piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prunec.backends.runner import GenerationError, Runner, generate, stream
from prunec.backends.sampling import Choose, greedy
from prunec.backends.stream_decoder import StreamDecoder


@dataclass(frozen=True)
class Continuation:
    """What a model wrote after a prompt.

    Attributes:
        prompt: What was asked, without the chat template.
        text: What was written, without special tokens.
        prompt_tokens: How many tokens the prompt is, with the chat template.
        tokens: The new tokens; the last is the end token where the model ended by itself.
    """

    prompt: str
    text: str
    prompt_tokens: int
    tokens: tuple[int, ...]


def encode_prompt(
    tokenizer: Any, prompt: str, *, chat: bool = False, positions: int | None = None
) -> list[int]:
    """The tokens of a prompt, as the model expects to be spoken to.

    Args:
        tokenizer: Of transformers.
        prompt: Plain text.
        chat: Whether to put it into the chat template, as what a user says.
        positions: The most tokens that the model can take, the new ones included, if known.

    Raises:
        GenerationError: the prompt is empty or too long, or there is no chat template.
    """
    if not prompt:
        raise GenerationError("the prompt is empty: give at least one character")
    if chat and not getattr(tokenizer, "chat_template", None):
        raise GenerationError("this tokenizer has no chat template: generate without chat")
    if chat:
        said = [{"role": "user", "content": prompt}]
        prompt = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    tokens: list[int] = tokenizer(prompt, add_special_tokens=not chat, verbose=False)["input_ids"]
    if positions is not None and len(tokens) >= positions:
        raise GenerationError(
            f"the prompt has {len(tokens)} tokens and the model has {positions} positions, for "
            "prompt and answer together: shorten the prompt"
        )
    return tokens


def generate_text(
    runner: Runner,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    new_tokens: int = 128,
    choose: Choose = greedy,
    chat: bool = False,
    positions: int | None = None,
) -> list[Continuation]:
    """Continue prompts as one batch, each until its end token.

    Args:
        runner: The model.
        tokenizer: Of transformers.
        prompts: Plain text, of any lengths.
        new_tokens: How many to add at most to each.
        choose: From logits to tokens, see `prunec.backends.sampling`.
        chat: Whether to put each prompt into the chat template.
        positions: The most tokens that the model can take, if known.

    Raises:
        GenerationError: there is no prompt, or one is empty or too long.
    """
    encoded = [encode_prompt(tokenizer, p, chat=chat, positions=positions) for p in prompts]
    tokens, mask = pad_left(encoded)
    end = tokenizer.eos_token_id
    new_tokens = _at_most(new_tokens, mask.shape[1], positions)
    added = generate(runner, tokens, mask, new_tokens=new_tokens, choose=choose, stop=end)
    found = []
    for prompt, before, row in zip(prompts, encoded, added.tolist(), strict=True):
        own = tuple(row[: row.index(end) + 1] if end in row else row)
        decoder = StreamDecoder(tokenizer, before)
        text = "".join([*map(decoder.push, own), decoder.finish()])
        found.append(Continuation(prompt, text, len(before), own))
    return found


class TextStream:
    """Text while it is written: iterate once for its pieces.

    There is a piece, perhaps empty, for each new token, and one for what is left at the end.

    Attributes:
        prompt_tokens: How many tokens the prompt is, with the chat template.
        tokens: The new tokens so far, the end token among them.
    """

    def __init__(
        self, decoder: StreamDecoder, prompt_tokens: int, chosen: Iterator[torch.Tensor]
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.tokens: list[int] = []
        self._decoder = decoder
        self._chosen = chosen

    def __iter__(self) -> Iterator[str]:
        for token in self._chosen:
            self.tokens.append(int(token))
            yield self._decoder.push(self.tokens[-1])
        yield self._decoder.finish()


def stream_text(
    runner: Runner,
    tokenizer: Any,
    prompt: str,
    *,
    new_tokens: int = 128,
    choose: Choose = greedy,
    chat: bool = False,
    positions: int | None = None,
) -> TextStream:
    """Continue one prompt and hand out the text as it comes; arguments as for `generate_text`.

    Raises:
        GenerationError: the prompt is empty or too long.
    """
    before = encode_prompt(tokenizer, prompt, chat=chat, positions=positions)
    chosen = stream(
        runner,
        torch.tensor([before], dtype=torch.int64),
        new_tokens=_at_most(new_tokens, len(before), positions),
        choose=choose,
        stop=tokenizer.eos_token_id,
    )
    return TextStream(StreamDecoder(tokenizer, before), len(before), chosen)


def pad_left(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask of a batch, [row, longest], int64; padding is token 0 under a mask of 0."""
    longest = max(map(len, rows), default=0)
    tokens = [[0] * (longest - len(row)) + list(row) for row in rows]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
    return (
        torch.tensor(tokens, dtype=torch.int64).reshape(len(rows), longest),
        torch.tensor(mask, dtype=torch.int64).reshape(len(rows), longest),
    )


def _at_most(new_tokens: int, prompt_tokens: int, positions: int | None) -> int:
    """As many new tokens as the model has positions for."""
    return new_tokens if positions is None else min(new_tokens, positions - prompt_tokens)
