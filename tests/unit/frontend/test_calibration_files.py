import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prunec.frontend.calibration import CalibrationError, CalibrationSpec, calibration_tokens
from prunec.frontend.calibration.documents import DataSet
from support.runners import CharacterTokenizer

TEXT = "".join(chr(97 + i % 26) for i in range(100))


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_a_file_gives_its_first_windows_without_special_tokens(text_file: Path) -> None:
    spec = CalibrationSpec(str(text_file), window_count=3, window_tokens=10)
    found = calibration_tokens(spec, CharacterTokenizer())
    assert found.tokens.tolist() == torch.tensor([ord(c) for c in TEXT[:30]]).view(3, 10).tolist()
    assert found.description == {
        "source": str(text_file),
        "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
        "windows": 3,
        "window_tokens": 10,
        "first_window": 0,
        "every": 1,
        "tokens": 30,
        "seed": 0,
    }


class MarkingTokenizer(CharacterTokenizer):
    """Puts 2 and 3 after a text, too."""

    def __call__(self, text: str, add_special_tokens: bool = True, verbose: bool = True) -> Any:
        found = super().__call__(text, add_special_tokens, verbose)["input_ids"]
        return {"input_ids": found + [2, 3] * add_special_tokens}


def test_windows_are_marked_as_whole_texts_where_asked(text_file: Path) -> None:
    spec = CalibrationSpec(str(text_file), 3, 10, with_special_tokens=True)
    found = calibration_tokens(spec, MarkingTokenizer())
    wanted = [[1, *map(ord, TEXT[start : start + 7]), 2, 3] for start in (0, 10, 20)]
    assert found.tokens.tolist() == wanted


def test_line_ends_and_blanks_of_a_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "wiki.raw"
    path.write_bytes(b" \r\n a \n")
    found = calibration_tokens(CalibrationSpec(str(path), 1, 7), CharacterTokenizer())
    assert bytes(found.tokens[0].tolist()) == b" \r\n a \n"


def test_windows_may_be_spread_over_the_text_and_what_is_held_out_comes_after(
    text_file: Path,
) -> None:
    spec = CalibrationSpec(str(text_file), window_count=3, window_tokens=10, every=3)
    found = calibration_tokens(spec, CharacterTokenizer())
    wanted = [[ord(c) for c in TEXT[start : start + 10]] for start in (0, 30, 60)]
    assert found.tokens.tolist() == wanted
    held_out = spec.held_out(1)
    assert (held_out.first_window, held_out.every) == (9, 1)


@pytest.mark.parametrize(
    ("count", "first", "advice"),
    [
        (3, 0, "need 120. Give more text, or ask for fewer windows or every=3"),
        (3, 2, "need 140. Give more text, or ask for fewer windows or every=2"),
        (11, 0, "need 440. Give more text, or ask for fewer windows$"),
    ],
)
def test_a_text_too_short_to_be_spread_so_far_names_what_would_do(
    text_file: Path, count: int, first: int, advice: str
) -> None:
    spec = CalibrationSpec(str(text_file), count, 10, first_window=first, every=4)
    with pytest.raises(CalibrationError, match=advice):
        calibration_tokens(spec, CharacterTokenizer())


def test_text_of_the_models_own_is_not_spread() -> None:
    with pytest.raises(CalibrationError, match="leave every at 1"):
        CalibrationSpec(every=2)


@pytest.mark.parametrize("held_out_tokens", [None, 5, 15, 40])
def test_held_out_windows_never_overlap(text_file: Path, held_out_tokens: int | None) -> None:
    spec = CalibrationSpec(str(text_file), window_count=3, window_tokens=10)
    held_out = spec.held_out(1, held_out_tokens)
    start = held_out.first_window * held_out.window_tokens
    assert 30 <= start < 30 + held_out.window_tokens
    found = calibration_tokens(held_out, CharacterTokenizer())
    assert found.tokens[0].tolist() == [ord(c) for c in TEXT[start:][: held_out.window_tokens]]


def test_too_little_text_is_refused_with_numbers(text_file: Path) -> None:
    spec = CalibrationSpec(str(text_file), window_count=5, window_tokens=30)
    with pytest.raises(CalibrationError, match=r"has 100 tokens.* 3 windows of 30.* need 150"):
        calibration_tokens(spec, CharacterTokenizer())


def test_a_jsonl_file_is_its_texts_with_a_blank_line_between(tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text('{"text": "ab"}\n\n{"text": "c\\nd", "url": "x"}\n')
    found = calibration_tokens(CalibrationSpec(str(path), 1, 7), CharacterTokenizer())
    assert CharacterTokenizer().decode(found.tokens[0].tolist()) == "ab\n\nc\nd"


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 2: not JSON"), ('{"body": "x"}', r"line 2: .*\['body'\]"), ("3", "line 2: .*int")],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text(json.dumps({"text": "ab"}) + "\n" + line + "\n")
    with pytest.raises(CalibrationError, match=message):
        calibration_tokens(CalibrationSpec(str(path), 1, 2), CharacterTokenizer())


def test_a_missing_file_is_refused_with_the_alternatives() -> None:
    with pytest.raises(CalibrationError, match=r"no text at nowhere\.txt .* or self"):
        calibration_tokens(CalibrationSpec("nowhere.txt"), CharacterTokenizer())


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"ab\xff")
    with pytest.raises(CalibrationError, match="not UTF-8 text: byte 2"):
        calibration_tokens(CalibrationSpec(str(path)), CharacterTokenizer())


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(CalibrationError, match="window_count is 0"):
        CalibrationSpec(window_count=0)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("datasets:a/b", DataSet("a/b")),
        ("datasets:a/b:c:d:e", DataSet("a/b", "c", "d", "e")),
        ("datasets:a/b::validation", DataSet("a/b", None, "validation")),
    ],
)
def test_a_data_set_reference_is_read(source: str, expected: DataSet) -> None:
    assert DataSet.parse(source) == expected


@pytest.mark.parametrize("source", ["datasets:", "datasets:a:b:c:d:e"])
def test_a_malformed_data_set_reference_is_refused(source: str) -> None:
    with pytest.raises(CalibrationError, match=r"datasets:ID\[:config\]"):
        calibration_tokens(CalibrationSpec(source), CharacterTokenizer())


def test_a_data_set_without_the_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CalibrationError, match=r"pip install 'prunec\[datasets\]'"):
        calibration_tokens(CalibrationSpec("datasets:a/b"), CharacterTokenizer())


def _library(rows: list[dict[str, str]]) -> SimpleNamespace:
    return SimpleNamespace(load_dataset=lambda *args, **options: iter(rows))


def test_a_data_set_is_read_only_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ({"text": "abcd" * 10} for _ in range(10**9))
    monkeypatch.setitem(sys.modules, "datasets", _library(rows))  # type: ignore[arg-type]
    found = calibration_tokens(CalibrationSpec("datasets:a/b", 2, 4), CharacterTokenizer())
    assert CharacterTokenizer().decode(found.tokens.flatten().tolist()) == "abcdabcd"


def test_a_data_set_without_the_column_names_those_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", _library([{"body": "x"}]))
    with pytest.raises(CalibrationError, match=r"no column 'text'; it has \['body'\]"):
        calibration_tokens(CalibrationSpec("datasets:a/b"), CharacterTokenizer())


def test_a_failure_of_the_library_becomes_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=fail))
    with pytest.raises(CalibrationError, match=r"a/b .* cannot be read: no route$"):
        calibration_tokens(CalibrationSpec("datasets:a/b"), CharacterTokenizer())
