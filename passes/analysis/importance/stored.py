"""Scores on disk, under a key of everything that they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from prunec.passes.analysis.importance.scores import Scores
from prunec.passes.contract import Context
from prunec.passes.ir import Program, replaced_file
from prunec.passes.ir.digest import digest_program, digest_tensor

_SOURCE = Path(__file__).parents[2]  # every pass: a criterion that changes is another one
_VALUES, _MOVES = "score:", "fluctuation:"


def scored_once(
    program: Program, options: Sequence[str], context: Context, score: Callable[[], Scores]
) -> Scores:
    """The scores that are stored for this very program, text and options, else new ones.

    Args:
        program: What is scored: its graph, its weights' bytes and their dtypes count.
        options: The criterion first, and whatever else it depends on.
        context: Its text and seed count. Without a cache folder nothing is stored.
        score: Computes them.
    """
    if context.cache is None:
        return score()
    file = context.cache / "scores" / f"{_key(program, options, context)}.safetensors"
    found = _read(file, options[0])
    if found is None:
        found = score()
        _write(file, found)
    return found


def _key(program: Program, options: Sequence[str], context: Context) -> str:
    digest = hashlib.sha256(repr((*options, torch.__version__, context.seed)).encode())
    digest.update(_digest_source())
    digest.update(context.analyse(digest_program, program))
    if context.calibration is not None:
        digest.update(digest_tensor(context.calibration))
    return digest.hexdigest()


@cache
def _digest_source() -> bytes:
    digest = hashlib.sha256()
    for file in sorted(_SOURCE.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()


def _write(file: Path, scores: Scores) -> None:
    tensors = {_VALUES + name: values for name, values in scores.by_structure.items()}
    for name, values in (scores.fluctuation or {}).items():
        tensors[_MOVES + name] = values
    with replaced_file(file) as partial:
        save_file(tensors, partial)


def _read(file: Path, criterion: str) -> Scores | None:
    """What is stored; None where nothing is, or where it is damaged and will be replaced."""
    try:
        tensors = load_file(file)
    except (FileNotFoundError, SafetensorError):
        return None
    values = {n.removeprefix(_VALUES): t for n, t in tensors.items() if n.startswith(_VALUES)}
    moves = {n.removeprefix(_MOVES): t for n, t in tensors.items() if n.startswith(_MOVES)}
    return Scores(criterion, values, moves or None)
