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
def calibration(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("calibration")


def test_each_source_is_a_row_measured_on_text_that_no_row_calibrates_on(
    calibration: ModuleType, tmp_path: Path
) -> None:
    source, other = tmp_path / "source.txt", tmp_path / "other.txt"
    source.write_text(WORDS * 1500)
    other.write_text(WORDS[::-1] * 200)
    given = {
        "--model": [write_llama(tmp_path / "model")],
        "--sources": [source, "self"],
        "--every": [1, 2],
        "--texts": [other, source],
        "--calibration-windows": [3],
        "--windows": [1],
        "--out": [tmp_path / "calibration.json"],
        "--cache": [tmp_path / "cache"],
    }
    arguments = [str(part) for name, parts in given.items() for part in (name, *parts)]
    assert calibration.main(arguments) == 0
    document = json.loads((tmp_path / "calibration.json").read_text())
    assert [row["name"] for row in document["rows"].values()] == [
        "dense",
        "source.txt, the first windows",
        "source.txt, one window in 2",
        "the model's own text",
    ]
    first, spread = (
        document["rows"][f"source.txt, {what} keep=0.8"]
        for what in ("the first windows", "one window in 2")
    )
    assert first["calibration"]["every"] == 1
    assert spread["calibration"]["every"] == 2
    assert first["perplexities"] != spread["perplexities"]
    assert document["protocol"]["texts"]["other.txt"]["first_window"] == 0
    assert document["protocol"]["texts"]["source.txt"]["first_window"] == 3  # 6 windows of 512
    table = (tmp_path / "calibration.md").read_text()
    assert "| dense |" in table
    assert "| the model's own text |" in table
    assert calibration.main(arguments) == 0
    assert json.loads((tmp_path / "calibration.json").read_text())["rows"] == document["rows"]
