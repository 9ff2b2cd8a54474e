"""Checks that the lowered model writes what the program writes, token by token."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

from prunec.backends.ort import open_onnx
from prunec.backends.runner import generate
from prunec.backends.torch import open_runner
from prunec.passes.ir import Program

NEW_TOKENS = 64
_PROMPT_TOKENS = 12
_PADDING = (0, 3, 7)  # of the rows of the batch, on the left


class DifferenceError(Exception):
    """Two runs of one model chose different tokens."""


def has_genai() -> bool:
    """Whether onnxruntime-genai is installed."""
    return find_spec("onnxruntime_genai") is not None


def compare_greedy(program: Program, onnx: Path) -> str:
    """Continue one prompt, and a batch of three padded on the left, in both.

    Raises:
        DifferenceError: a token differs.
    """
    here, there = open_runner(program), open_onnx(onnx)
    for padding in ((0,), _PADDING):
        tokens = _prompt(here.vocabulary, len(padding))
        mask = torch.ones_like(tokens)
        for row, count in enumerate(padding):
            mask[row, :count] = 0
        expected, found = (
            generate(runner, tokens, mask, new_tokens=NEW_TOKENS) for runner in (here, there)
        )
        _require_equal(expected, found, f"batch {len(padding)}")
    return f"{NEW_TOKENS} tokens, batch 1 and a left-padded batch of {len(_PADDING)}"


def compare_genai(program: Program, folder: Path) -> str:
    """Continue one prompt in onnxruntime-genai as well, up to its end token.

    Raises:
        DifferenceError: a token differs.
    """
    import onnxruntime_genai as genai

    runner = open_runner(program)
    tokens = _prompt(runner.vocabulary, 1)
    model = genai.Model(str(folder))
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(
        max_length=tokens.shape[1] + NEW_TOKENS, do_sample=False, batch_size=1
    )
    generator = genai.Generator(model, parameters)
    generator.append_tokens(tokens.numpy().astype("int32"))
    while not generator.is_done():
        generator.generate_next_token()
    found = torch.tensor(generator.get_sequence(0)[tokens.shape[1] :].tolist())[None]
    expected = generate(runner, tokens, new_tokens=found.shape[1])
    _require_equal(expected, found, "onnxruntime-genai")
    return f"{found.shape[1]} tokens"


def _prompt(vocabulary: int, rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows)
    return torch.randint(vocabulary, (rows, _PROMPT_TOKENS), generator=generator)


def _require_equal(expected: torch.Tensor, found: torch.Tensor, where: str) -> None:
    if not torch.equal(expected, found):
        first = int((expected != found).any(0).nonzero()[0])
        raise DifferenceError(
            f"{where}: token {first} is {found[:, first].tolist()}, "
            f"torch chose {expected[:, first].tolist()}"
        )
