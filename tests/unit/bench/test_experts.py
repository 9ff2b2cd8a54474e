from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from prunec.passes.contract import Context
from prunec.passes.ir import DECODE, PREFILL
from prunec.passes.manager import run_pipeline
from support.checkpoints import write_llama
from support.models import random_tokens, small_program

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench"
WORDS = "the cat sat on the mat and a dog "


@pytest.fixture
def experts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("experts")


def arguments(folder: Path, *more: str) -> list[str]:
    text, calibration = folder / "text.txt", folder / "calibration.txt"
    text.write_text(WORDS * 300)
    calibration.write_text(WORDS[::-1] * 1500)
    model = folder / "model"
    given = {
        "--model": model if model.is_dir() else write_llama(model),
        "--text": text,
        "--calibration": calibration,
        "--out": folder / "experts.json",
        "--cache": folder / "cache",
        "--keeps": 0.5,
    }
    return [str(part) for pair in given.items() for part in pair] + list(more)


def prompts(folder: Path) -> list[str]:
    generation = folder / "gen"
    generation.mkdir()
    for task in ("coqa", "qasper", "govreport"):
        lines = [{"id": str(i), "query": WORDS * (i + 1), "task": task} for i in range(2)]
        (generation / f"{task}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    limits = ["--sample-count", "2", "--new-tokens", "4", "--max-prompt-tokens", "20"]
    return ["--generation", str(generation), *limits]


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "experts.json").read_text())
    return found


def test_the_dense_model_is_a_row_and_more_windows_run_it_anew(
    experts: ModuleType, tmp_path: Path
) -> None:
    given = arguments(tmp_path, "--rows", "--windows", "1")
    assert experts.main(given) == 0
    (row,) = document(tmp_path)["rows"].values()
    assert row["decode_bytes"] == document(tmp_path)["protocol"]["dense_decode_bytes"] > 0
    assert row["generation"] == {}
    assert f"| dense keep=1 | {row['perplexity']:.2f} | " in (tmp_path / "experts.md").read_text()
    assert experts.main([*given, "--windows", "2"]) == 0
    assert len(document(tmp_path)["rows"]["dense keep=1"]["window_nll"]) == 2
    assert experts.main([*given, "--windows", "2", "--prompt-tokens", "16"]) == 0
    assert document(tmp_path)["rows"]["dense keep=1"]["prompt_tokens"] == 16
    assert experts.main([*given, "--windows", "2", "--batch", "2"]) == 0
    assert document(tmp_path)["rows"]["dense keep=1"]["batch"] == 2


def test_chosen_units_are_fewer_bytes_and_answers_are_compared_with_the_dense_model(
    experts: ModuleType, tmp_path: Path
) -> None:
    given = arguments(tmp_path, "--windows", "1", "--rows", "griffin", *prompts(tmp_path))
    assert experts.main(given) == 0
    rows = document(tmp_path)["rows"]
    dense, griffin = rows["dense keep=1"], rows["griffin keep=0.5"]
    assert griffin["decode_bytes"] < dense["decode_bytes"]
    assert set(griffin["generation"]) == {"coqa", "qasper", "govreport"}
    assert dense["generation"] == {}
    coqa = griffin["generation"]["coqa"]
    assert (coqa["samples"], coqa["cut_prompts"], coqa["new_tokens"]) == (2, 1, 4)
    assert "| griffin keep=0.5 | qasper | 2 | 1 to 20 |" in (tmp_path / "experts.md").read_text()
    answers = list((tmp_path / "cache").glob("answers-*.json"))
    assert len(answers) == 1
    stamp = answers[0].stat().st_mtime_ns
    assert experts.main(given) == 0
    assert document(tmp_path)["rows"] == rows
    assert answers[0].stat().st_mtime_ns == stamp


def test_every_pipeline_runs_and_only_unknown_names_are_refused(experts: ModuleType) -> None:
    known = importlib.import_module("experts_bench.rows")
    rows = list(known.rows(list(known.PIPELINES), [0.75, 0.5], 0.6))
    assert len({row.key for row in rows}) == len(rows) == 1 + 2 * len(known.PIPELINES)
    for row in rows[1 : 1 + len(known.PIPELINES)]:
        context = Context(calibration=random_tokens(4, 32))
        assert set(run_pipeline(small_program(), row.passes, context).entries) == {PREFILL, DECODE}
    with pytest.raises(ValueError, match="no rows \\['nonsense'\\]; there are"):
        list(known.rows(["nonsense"], [0.5], 0.6))


def test_the_whole_model_may_look_at_answers_now_and_then(
    experts: ModuleType, tmp_path: Path
) -> None:
    given = arguments(tmp_path, "--windows", "1", "--rows", "griffin", *prompts(tmp_path))
    assert experts.main([*given, "--verify-every", "1"]) == 0  # then every token is its own
    (answered,) = [r["generation"] for r in document(tmp_path)["rows"].values() if r["pipeline"]]
    assert all(found["same_answers"] == 1 for found in answered.values())
    assert "After every 1 tokens the whole model" in (tmp_path / "experts.md").read_text()
    with pytest.raises(SystemExit, match="verify_every"):
        experts.main(given)
