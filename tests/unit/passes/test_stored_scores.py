from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prunec.passes.analysis.importance import Score, Scores
from prunec.passes.contract import Context
from prunec.passes.ir import Program, cast
from support.models import random_tokens, small_program

PROGRAM = small_program()
TOKENS = random_tokens(3, 12)
NAME = "model.layers.0.mlp.down_proj.weight"


def scored(
    cache: Path,
    program: Program = PROGRAM,
    tokens: torch.Tensor = TOKENS,
    score: Score | None = None,
) -> tuple[Scores, int]:
    """The scores, and how many times something was measured for them."""
    measured: list[str] = []

    def progress(items: Iterable[Any], title: str, total: int) -> Iterator[Any]:
        measured.append(title)
        yield from items

    context = Context(calibration=tokens, cache=cache, progress=progress)
    (score or Score("wanda")).apply(program, context)
    assert context.scores is not None
    return context.scores, len(measured)


@pytest.mark.parametrize("criterion", ["wanda", "taylor", "saap"])
def test_a_second_time_nothing_is_measured_and_the_result_is_the_same(
    criterion: str, tmp_path: Path
) -> None:
    first, _ = scored(tmp_path, score=Score(criterion))
    second, measured = scored(tmp_path, score=Score(criterion))
    assert measured == 0
    assert second.criterion == first.criterion
    assert second.by_structure.keys() == first.by_structure.keys()
    assert all(torch.equal(v, second.by_structure[n]) for n, v in first.by_structure.items())
    assert (second.fluctuation is None) == (first.fluctuation is None)
    for name, moves in (first.fluctuation or {}).items():
        assert second.fluctuation is not None
        assert torch.equal(moves, second.fluctuation[name])


def nudged() -> Program:
    weight = PROGRAM.weights[NAME].clone()
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(torch.inf))
    return PROGRAM.with_weights({NAME: weight})


def with_epsilon_times(factor: float) -> Program:
    """The same weights in a graph of its own, with one constant multiplied."""
    program = cast(cast(PROGRAM, torch.float64), torch.float32)
    nodes = [n for n in program.main.graph.nodes if "add.Tensor" in str(n.target)]
    node = next(n for n in nodes if isinstance(n.args[1], float))
    node.args = (node.args[0], factor * node.args[1])
    return program


@pytest.mark.parametrize(
    "change",
    [
        lambda: {"program": nudged()},
        lambda: {"program": small_program(torch.float64)},
        lambda: {"program": with_epsilon_times(10)},
        lambda: {"tokens": TOKENS.flip(0)},
        lambda: {"tokens": TOKENS.reshape(2, 18)},
        lambda: {"tokens": TOKENS[:2]},
        lambda: {"score": Score("activation")},
        lambda: {"score": Score("wanda", ("kv-group",))},
    ],
    ids=["weight", "dtype", "graph", "order", "windows", "text", "criterion", "kinds"],
)
def test_another_input_is_measured_anew(
    change: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    scored(tmp_path)
    _, measured = scored(tmp_path, **change())
    assert measured == 1
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_a_copy_of_the_program_is_the_same_program(tmp_path: Path) -> None:
    scored(tmp_path)
    copy = replace(with_epsilon_times(1), origin={"model": "copied"})
    _, measured = scored(tmp_path, copy)
    assert measured == 0


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    first, _ = scored(tmp_path)
    (file,) = tmp_path.rglob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    again, measured = scored(tmp_path)
    assert measured == 1
    assert file.read_bytes() == whole
    assert all(torch.equal(v, again.by_structure[n]) for n, v in first.by_structure.items())


def test_an_interrupted_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("prunec.passes.ir.kept_tensors.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scored(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_without_a_cache_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Score("magnitude").apply(PROGRAM, Context())
    assert not list(tmp_path.iterdir())
