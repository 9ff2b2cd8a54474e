"""Let a runner answer prompts greedily, and keep what it answered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prunec.backends.generation import encode_prompt
from prunec.backends.measure.samples import Sample, SampleError
from prunec.backends.runner import Runner, stream
from prunec.backends.stream_decoder import StreamDecoder
from prunec.passes.ir import replaced_file
from prunec.passes.ir.digest import digest


@dataclass(frozen=True)
class Prompt:
    """A sample as a runner is given it.

    Attributes:
        sample: Where it comes from.
        tokens: The prompt, without what was cut from its start.
        cut_tokens: How many tokens that was.
        new_tokens: The most tokens of an answer.
    """

    sample: Sample
    tokens: tuple[int, ...]
    cut_tokens: int
    new_tokens: int

    @property
    def key(self) -> str:
        """A digest of all that an answer of one model with its tokenizer depends on."""
        return digest((self.tokens, self.new_tokens, self.sample.stop)).hex()[:32]


def build_prompt(tokenizer: Any, sample: Sample, new_tokens: int, max_prompt_tokens: int) -> Prompt:
    """Encode a sample; of a prompt that is too long the end stays.

    Args:
        tokenizer: Of transformers.
        sample: What to ask.
        new_tokens: The most tokens of an answer, unless the sample wants fewer.
        max_prompt_tokens: The most tokens of the prompt.
    """
    tokens = encode_prompt(tokenizer, sample.prompt)
    limit = min(new_tokens, sample.max_new_tokens or new_tokens)
    kept = tuple(tokens[-max_prompt_tokens:])
    return Prompt(sample, kept, len(tokens) - len(kept), limit)


def answer(runner: Runner, tokenizer: Any, prompt: Prompt) -> list[int]:
    """Answer greedily, to the end token, a stop string, or the most tokens.

    Returns:
        The new tokens, those that end the answer among them.
    """
    decoder = StreamDecoder(tokenizer, prompt.tokens)
    tokens: list[int] = []
    text = ""
    start = torch.tensor([prompt.tokens], dtype=torch.int64)
    end = tokenizer.eos_token_id
    for chosen in stream(runner, start, new_tokens=prompt.new_tokens, stop=end):
        tokens.append(int(chosen))
        text += decoder.push(tokens[-1])
        if any(stop in text for stop in prompt.sample.stop):
            break
    return tokens


def answer_text(tokenizer: Any, prompt: Prompt, tokens: Sequence[int]) -> str:
    """The text of an answer up to its first stop string."""
    decoder = StreamDecoder(tokenizer, prompt.tokens)
    return prompt.sample.cut("".join([*map(decoder.push, tokens), decoder.finish()]))


def read_answers(path: Path | None) -> dict[str, list[int]]:
    """Answers by the keys of their prompts; none where there is no file.

    Raises:
        SampleError: the file holds something else, or is damaged.
    """
    if path is None or not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text())
        answers: dict[str, list[int]] = document["answers"]
        is_whole = digest(answers).hex() == document["digest"]
    except (ValueError, KeyError, TypeError) as error:
        raise SampleError(f"{path} holds no answers: delete it, or name another file") from error
    if not is_whole:
        raise SampleError(f"{path} is damaged: delete it, the answers are made anew")
    return answers


def write_answers(path: Path | None, answers: Mapping[str, Sequence[int]]) -> None:
    """Keep answers; does nothing where no file is given."""
    if path is None:
        return
    with replaced_file(path) as partial:
        document = {"answers": answers, "digest": digest(answers).hex()}
        partial.write_text(json.dumps(document) + "\n")
