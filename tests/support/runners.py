"""A runner and a tokenizer so small that every number about them can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class BigramRunner:
    """Predict the next token from the last one alone, by a table of logits.

    Args:
        table: [token, next token].
        name: The runner's name.
    """

    def __init__(self, table: torch.Tensor, name: str = "bigram") -> None:
        self.name = name
        self.vocabulary = len(table)
        self.rows: list[int] = []
        self._table = table

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: int | None
    ) -> tuple[torch.Tensor, int]:
        """See `prunec.backends.runner.Runner.step`; the cache is the number of tokens seen."""
        past = (cache or 0) + tokens.shape[1]
        assert mask.shape == (len(tokens), past)
        self.rows.append(len(tokens))
        return self._table[tokens], past


def random_table(vocabulary: int = 128, seed: int = 0) -> torch.Tensor:
    """[token, next token] logits, standard normal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(vocabulary, vocabulary, generator=generator)


class CharacterTokenizer:
    """A token for each ASCII character; 1 begins a text where special tokens are wanted."""

    bos_token_id: int | None = 1
    eos_token_id = 2

    def __call__(
        self, text: str, add_special_tokens: bool = True, verbose: bool = True
    ) -> dict[str, Any]:
        """The tokens of a text, as tokenizers of transformers give them."""
        start = [1] if add_special_tokens else []
        return {"input_ids": start + [ord(c) for c in text]}

    def decode(self, tokens: Sequence[int]) -> str:
        """The characters of tokens."""
        return "".join(chr(t) for t in tokens)


class ScriptRunner:
    """Predict a given text of tokens, whatever the prompt says; then 0 for ever.

    Args:
        rows: The new tokens of each row of the batch.
        vocabulary: How many tokens there are.
        name: The runner's name.
    """

    def __init__(
        self, rows: Sequence[Sequence[int]], vocabulary: int, name: str = "script"
    ) -> None:
        self.name = name
        self.vocabulary = vocabulary
        self.steps: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._rows = rows

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: int | None
    ) -> tuple[torch.Tensor, int]:
        """See `prunec.backends.runner.Runner.step`; the cache is the number of steps done."""
        self.steps.append((tokens, mask))
        done = cache or 0
        wanted = [row[done] if done < len(row) else 0 for row in self._rows]
        logits = torch.zeros(len(tokens), tokens.shape[1], self.vocabulary)
        logits[range(len(tokens)), -1, wanted] = 1.0
        return logits, done + 1
