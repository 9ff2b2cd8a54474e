"""Let an opened model continue a prompt, and time it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prunec.backends.experts import has_experts, read_experts
from prunec.backends.generation import stream_text
from prunec.backends.measure import token_agreement
from prunec.backends.sampling import Choose
from prunec.driver.artefact import Artefact
from prunec.driver.formats import format_seconds
from prunec.frontend.sources import find_config


@dataclass(frozen=True)
class Written:
    """What a model wrote, and how fast.

    Attributes:
        reference: The model as the user wrote it.
        runner: The runner's name.
        text: Without special tokens.
        tokens: The new tokens; the last is the end token where the model ended by itself.
        prompt_tokens: Of the prompt, with the chat template.
        new_tokens: How many there are.
        ttft_ms: Time to the first token.
        tokens_per_second: Of those after the first; None where there is only one.
    """

    reference: str
    runner: str
    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    new_tokens: int
    ttft_ms: float
    tokens_per_second: float | None

    def to_json(self) -> dict[str, Any]:
        """JSON values under the attributes' names."""
        return asdict(self)

    def __str__(self) -> str:
        later = self.tokens_per_second
        speed = f", then {later:.1f} tokens/s" if later is not None else ""
        return (
            f"{self.prompt_tokens} tokens of prompt, {self.new_tokens} new: the first after "
            f"{format_seconds(self.ttft_ms / 1000)}{speed}"
        )


def write(
    model: Artefact,
    prompt: str,
    show: Callable[[str], None],
    *,
    new_tokens: int,
    choose: Choose,
    chat: bool,
) -> Written:
    """Continue a prompt and show each piece of text as it comes.

    Raises:
        GenerationError: the prompt is empty, or longer than the model's positions.
        ArtefactError: the model has no tokenizer.
    """
    tokenizer = model.load_tokenizer()
    positions = find_positions(model)
    started = time.perf_counter()
    pieces = stream_text(
        model.runner,
        tokenizer,
        prompt,
        new_tokens=new_tokens,
        choose=choose,
        chat=chat,
        positions=positions,
    )
    text, times = "", []
    for piece in pieces:
        times.append(time.perf_counter())
        text += piece
        show(piece)
    count = len(pieces.tokens)
    decoding = times[count - 1] - times[0]
    return Written(
        reference=model.reference,
        runner=model.runner.name,
        text=text,
        tokens=tuple(pieces.tokens),
        prompt_tokens=pieces.prompt_tokens,
        new_tokens=count,
        ttft_ms=(times[0] - started) * 1000,
        tokens_per_second=(count - 1) / decoding if count > 1 else None,
    )


def compare_tokens(found: Written, wanted: Written) -> dict[str, Any]:
    """How far two texts are the same, token by token, under names for JSON."""
    return asdict(token_agreement(found.tokens, wanted.tokens))


def find_positions(model: Artefact) -> int | None:
    """The most tokens that a model can take, prompt and answer together; None if unknown."""
    if model.program is not None and "max_position_embeddings" in model.program.origin:
        known: int | None = model.program.origin["max_position_embeddings"]
        return known
    source = model.tokenizer_source
    if source is None:
        return None
    if has_experts(Path(source)):
        return read_experts(Path(source)).context_length
    packed = Path(source) / "genai_config.json"
    if packed.is_file():
        return int(json.loads(packed.read_text())["model"]["context_length"])
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        return None
    return getattr(find_config(source), "max_position_embeddings", None)
