"""Scores on disk, under a key of everything that they depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from prunec.passes.analysis.importance.scores import Scores
from prunec.passes.contract import Context
from prunec.passes.ir import Program
from prunec.passes.ir.digest import digest_program, make_key
from prunec.passes.ir.kept_tensors import keep_tensors, read_tensors

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
    found = _read(file, options[0], context)
    if found is None:
        found = score()
        _write(file, found)
    return found


def _key(program: Program, options: Sequence[str], context: Context) -> str:
    return make_key(
        ["passes"],  # all of them: a criterion that changes is another one
        program=context.analyse(digest_program, program),
        options=options,
        text=context.calibration,
        seed=context.seed,
    )


def _write(file: Path, scores: Scores) -> None:
    tensors = {_VALUES + name: values for name, values in scores.by_structure.items()}
    for name, values in (scores.fluctuation or {}).items():
        tensors[_MOVES + name] = values
    keep_tensors(file, tensors)


def _read(file: Path, criterion: str, context: Context) -> Scores | None:
    """What is stored; None where nothing is, or where it is damaged and will be replaced."""
    tensors = read_tensors(file, context.notice)
    if tensors is None:
        return None
    values = {n.removeprefix(_VALUES): t for n, t in tensors.items() if n.startswith(_VALUES)}
    moves = {n.removeprefix(_MOVES): t for n, t in tensors.items() if n.startswith(_MOVES)}
    return Scores(criterion, values, moves or None)
