from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from support.checkpoints import write_llama

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench"
WORDS = "the cat sat on the mat and a dog "


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("quality")


def arguments(folder: Path) -> list[str]:
    text, calibration = folder / "text.txt", folder / "calibration.txt"
    text.write_text(WORDS * 200)
    calibration.write_text(WORDS[::-1] * 1500)
    given = {
        "--model": write_llama(folder / "model"),
        "--text": text,
        "--calibration": calibration,
        "--out": folder / "quality.json",
        "--cache": folder / "cache",
    }
    return [str(part) for pair in given.items() for part in pair] + ["--windows", "1"]


def test_rows_are_run_once_and_shown_in_a_table_and_a_plot(
    quality: ModuleType, tmp_path: Path
) -> None:
    some = ["--criteria", "wanda", "--methods", "uniform", "global", "--repairs", "none", "refit"]
    given = [*arguments(tmp_path), *some, "--keeps", "0.8"]
    assert quality.main(given) == 0
    document = json.loads((tmp_path / "quality.json").read_text())
    assert list(document["rows"]) == [
        "dense keep=1",
        *(f"wanda {m} {r} keep=0.8" for m in ("uniform", "global") for r in ("none", "refit")),
    ]
    pruned, repaired = (document["rows"][f"wanda uniform {r} keep=0.8"] for r in ("none", "refit"))
    assert pruned["sizes"] == repaired["sizes"]
    assert pruned["perplexity"] != repaired["perplexity"]
    assert "| wanda global refit |" in (tmp_path / "quality.md").read_text()
    assert "<svg" in (tmp_path / "quality.svg").read_text()
    stamp = document["rows"]["wanda uniform none keep=0.8"]["seconds"]
    assert quality.main(given) == 0
    again = json.loads((tmp_path / "quality.json").read_text())
    assert again["rows"]["wanda uniform none keep=0.8"]["seconds"] == stamp


def test_a_named_recipe_is_one_row_at_each_size(quality: ModuleType, tmp_path: Path) -> None:
    recipes = ["--recipes", "best-without-training", "--keeps", "0.7", "0.8"]
    assert quality.main([*arguments(tmp_path), *recipes]) == 0
    rows = json.loads((tmp_path / "quality.json").read_text())["rows"]
    for keep in (0.7, 0.8):
        found = rows[f"best-without-training keep={keep}"]
        share = (
            found["sizes"]["block_parameters"] / rows["dense keep=1"]["sizes"]["block_parameters"]
        )
        assert keep - 0.1 < share <= keep


def test_the_model_can_write_its_own_calibration_text(quality: ModuleType, tmp_path: Path) -> None:
    given = arguments(tmp_path)
    given[given.index("--calibration") + 1] = "self"
    recipes = ["--recipes", "best-without-training", "--keeps", "0.8"]
    assert quality.main([*given, *recipes]) == 0
    document = json.loads((tmp_path / "quality.json").read_text())
    assert document["protocol"]["calibration"]["source"] == "self"
    assert "best-without-training keep=0.8" in document["rows"]


def test_an_unknown_criterion_is_refused_before_the_model_is_opened(quality: ModuleType) -> None:
    given = ["--model", "absent", "--text", "absent", "--calibration", "absent"]
    with pytest.raises(SystemExit, match=r"no criteria \['nonsense'\] of units; there are"):
        quality.main([*given, "--criteria", "wanda", "nonsense"])


def test_a_kept_model_is_measured_further_without_being_pruned_again(
    quality: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [*arguments(tmp_path), "--models", str(tmp_path / "models"), "--keeps", "0.8"]
    some = ["--criteria", "wanda", "--methods", "uniform", "--repairs", "none"]
    assert quality.main([*given, *some]) == 0
    before = json.loads((tmp_path / "quality.json").read_text())["rows"]

    def refuse(*_: object) -> None:
        raise AssertionError("pruned again")

    monkeypatch.setattr("shared.subject.run_pipeline", refuse)
    assert quality.main([*given, *some, "--windows", "2"]) == 0
    after = json.loads((tmp_path / "quality.json").read_text())["rows"]
    name = "wanda uniform none keep=0.8"
    assert (before[name]["windows"], after[name]["windows"]) == (1, 2)
    assert before[name]["seconds"] == after[name]["seconds"]
    assert before[name]["perplexity"] != after[name]["perplexity"]
