"""Let the dense model write its own calibration text.

Source: Williams et al. 2024, arXiv 2410.17170 (self-calibration), without the temperature schedule.
Here the documents start from a few everyday openings instead, and are short: the cost of a token
grows with the cache before it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from prunec.frontend.calibration.spec import CalibrationError, CalibrationSpec, Notice, Progress
from prunec.passes.ir import Program
from prunec.passes.ir.digest import make_key
from prunec.passes.ir.kept_tensors import keep_tensors, read_tensors

Step = Callable[[torch.Tensor, torch.Tensor, Any], tuple[torch.Tensor, Any]]
"""From tokens [batch, new], mask [batch, past + new] and a cache to logits and the next cache."""

_BATCH = 64  # documents written together; more no longer pays on a CPU
_DOCUMENT_TOKENS = 128
_TOP_K = 50
_TEMPERATURE = 1.0

# A document needs a few words before a model is itself: from one token alone it rambles.
_OPENINGS = (
    "The history of the city",
    "The first time that I",
    "The film was released in",
    "The species is found in",
    "The main difference between the two",
    "The study found that people who",
    "The game was developed by",
    "The company announced that it would",
    "The battle took place on",
    "The song was written by",
    "The river flows through the",
    "The government of the country",
    "The team won the championship in",
    "The book tells the story of",
    "The president said on Monday that",
    "The purpose of this article is",
    "In the early years of the",
    "In mathematics, a function is",
    "In this chapter we will learn",
    "In September of that year,",
    "It was a cold morning and",
    "It is important to remember that",
    "Once upon a time there was",
    "There are many ways to make",
    "When the war ended, the",
    "When she opened the door,",
    "One of the most common causes",
    "After the death of his father,",
    "According to the latest report,",
    "He was born in a small",
    "She studied at the University of",
    "During the nineteenth century, the",
    "Many scientists believe that the",
    "Before you begin, make sure that",
    "How does the human body",
    "Why do some people prefer to",
    "To solve this problem, we need",
    "For example, if you want to",
    "My grandmother used to tell me",
    "We propose a new method for",
    "They lived in a village near",
    "Although the storm had passed,",
    "As a result of the changes,",
    "Most of the people in the",
    "Water is one of the most",
    "At the end of the season,",
    "Music has always been a part",
    "On the other side of the",
)


@dataclass(frozen=True)
class Author:
    """The model that writes the text.

    Attributes:
        step: Runs `program`, for example the step of a runner.
        program: Whose graph and weights tell stored text of one model from that of another.
    """

    step: Step
    program: Program


class Written(NamedTuple):
    """Text, and how likely it was to its author while it was written.

    Attributes:
        tokens: [row, token], int64.
        nll: [row, token], float32: negative log-likelihood in nats of each token after those
            before it in its document; NaN for the first, which was given.
    """

    tokens: torch.Tensor
    nll: torch.Tensor


def written_windows(
    spec: CalibrationSpec,
    tokenizer: Any,
    author: Author,
    cache: Path | None,
    progress: Progress,
    notice: Notice,
) -> Written:
    """Windows of an endless seeded text by the model.

    Every batch of documents has its own seed, so a window depends on its index and not on how
    many are asked for. Documents are kept in `cache`, batch by batch; `notice` is told of stored
    ones that are damaged.

    Raises:
        CalibrationError: what the model predicts is not finite.
    """
    documents_per_window = -(-spec.window_tokens // _DOCUMENT_TOKENS)
    document_tokens = -(-spec.window_tokens // documents_per_window)
    first, end = (i * documents_per_window for i in (spec.first_window, spec.end_window))
    batches = range(first // _BATCH, -(-end // _BATCH))
    key = _key(spec.seed, document_tokens, tokenizer, author) if cache else ""
    store = _Store(cache, key, notice)
    written = [store.find(index) for index in batches]
    missing = [index for index, found in zip(batches, written, strict=True) if found is None]
    total = len(missing) * document_tokens
    steps = progress(range(total), "writing calibration text", total) if missing else iter(())
    for index in missing:
        seed = _seed(spec.seed, document_tokens, index)
        documents = _write(author.step, tokenizer, seed, document_tokens, steps)
        store.keep(index, documents)
        written[index - batches.start] = documents
    for _ in steps:  # openings count as progress, though nobody wrote them
        pass
    offset = first - batches.start * _BATCH
    whole = [torch.cat(parts)[offset:] for parts in zip(*filter(None, written), strict=True)]
    return Written(*(_cut(part[: end - first], spec) for part in whole))


def _cut(documents: torch.Tensor, spec: CalibrationSpec) -> torch.Tensor:
    return documents.reshape(spec.window_count, -1)[:, : spec.window_tokens].contiguous()


@dataclass(frozen=True)
class _Store:
    """Documents on disk, a file for each batch; nothing where there is no folder."""

    folder: Path | None
    key: str
    notice: Notice

    def _path(self, folder: Path, batch: int) -> Path:
        return folder / "written" / f"{self.key}-{batch}.safetensors"

    def find(self, batch: int) -> Written | None:
        if self.folder is None:
            return None
        found = read_tensors(self._path(self.folder, batch), self.notice)
        return Written(**found) if found is not None else None

    def keep(self, batch: int, documents: Written) -> None:
        if self.folder is not None:
            keep_tensors(self._path(self.folder, batch), documents._asdict())


def _key(seed: int, document_tokens: int, tokenizer: Any, author: Author) -> str:
    return make_key(
        ["passes/ir", "frontend", "backends"],  # what traces, runs and writes
        program=author.program,
        openings=[list(tokenizer(opening)["input_ids"]) for opening in _OPENINGS],
        seed=seed,
        document_tokens=document_tokens,
    )


def _seed(seed: int, document_tokens: int, batch: int) -> int:
    digest = hashlib.sha256(f"{seed} {document_tokens} {batch}".encode()).digest()
    return int.from_bytes(digest[:7], "little")


def _write(
    step: Step, tokenizer: Any, seed: int, document_tokens: int, steps: Iterator[Any]
) -> Written:
    """One batch of documents."""
    openings = random.Random(seed).choices(_OPENINGS, k=_BATCH)
    starts = [tokenizer(opening)["input_ids"][:document_tokens] for opening in openings]
    longest, shortest = max(map(len, starts)), min(map(len, starts))
    begins = torch.tensor([longest - len(s) for s in starts])
    tokens = torch.tensor([[0] * (longest - len(s)) + s for s in starts])
    mask = (torch.arange(longest) >= begins[:, None]).long()
    generator = torch.Generator().manual_seed(seed)
    added, cache = tokens, None
    nll = [torch.full((_BATCH, 1), torch.nan)]
    for _ in range(document_tokens - shortest):
        logits, cache = step(added, mask, cache)
        nll.append(_nll(logits[:, :-1], added[:, 1:]))  # of openings; later nothing
        added = _sample(logits[:, -1], generator)
        nll.append(_nll(logits[:, -1:], added))
        tokens = torch.cat([tokens, added], dim=1)
        mask = torch.cat([mask, torch.ones_like(added)], dim=1)
        next(steps, None)
    likely = torch.full(tokens.shape, torch.nan)
    known = torch.cat(nll, dim=1)  # the first column alone where all are openings
    likely[:, : known.shape[1]] = known
    likely[torch.arange(tokens.shape[1]) <= begins[:, None]] = torch.nan
    places = begins[:, None] + torch.arange(document_tokens)
    return Written(tokens.gather(1, places), likely.gather(1, places))


def _sample(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """From logits [batch, vocabulary] to tokens [batch, 1], among the likeliest."""
    values, tokens = logits.float().topk(min(_TOP_K, logits.shape[-1]))
    weights = (values / _TEMPERATURE).softmax(-1)
    if not weights.isfinite().all():
        raise CalibrationError(
            "the model cannot write its calibration text: what it predicts is not finite. Check "
            "the checkpoint, or compute in float32"
        )
    return tokens.gather(1, torch.multinomial(weights, 1, generator=generator))


def _nll(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Of tokens [batch, token] under logits [batch, token, vocabulary]."""
    found = logits.float()
    return found.logsumexp(-1) - found.gather(-1, tokens[..., None])[..., 0]
