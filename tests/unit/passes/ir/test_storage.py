from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from prunec.passes.ir import (
    ProgramError,
    cast,
    execute,
    language_feeds,
    load_program,
    save_program,
    verify,
)
from support.models import random_tokens, small_program

PROGRAM = small_program()
TOKENS = random_tokens(2, 6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_program_comes_back_from_disk_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    program = cast(PROGRAM, dtype).with_record({"spec": "something"})
    save_program(program, tmp_path / "program")
    loaded = load_program(tmp_path / "program")
    verify(loaded)
    assert loaded.records == program.records
    assert loaded.origin == program.origin
    before = execute(program, language_feeds(program.main, TOKENS))
    for name, value in execute(loaded, language_feeds(loaded.main, TOKENS)).items():
        assert torch.equal(value, before[name])


def test_saving_over_a_program_that_is_there_replaces_it(tmp_path: Path) -> None:
    save_program(PROGRAM, tmp_path / "program")
    save_program(PROGRAM.with_record({"spec": "later"}), tmp_path / "program")
    assert load_program(tmp_path / "program").records[-1] == {"spec": "later"}
    assert [p.name for p in tmp_path.iterdir()] == ["program"]


def test_a_failed_write_leaves_the_earlier_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_program(PROGRAM, tmp_path / "program")

    def disk_is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("prunec.passes.ir.storage.save_file", disk_is_full)
    with pytest.raises(OSError, match="No space left"):
        save_program(PROGRAM.with_record({"spec": "later"}), tmp_path / "program")
    assert load_program(tmp_path / "program").records == PROGRAM.records
    assert [p.name for p in tmp_path.iterdir()] == ["program"]


@pytest.mark.parametrize("name", ["program.json", "weights.safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    save_program(PROGRAM, tmp_path / "program")
    path = tmp_path / "program" / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ProgramError, match="damaged program"):
        load_program(tmp_path / "program")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"program\.json is missing"):
        load_program(tmp_path)


def test_a_program_cannot_call_anything_but_operators(tmp_path: Path) -> None:
    save_program(PROGRAM, tmp_path / "program")
    path = tmp_path / "program" / "program.json"
    document = json.loads(path.read_text())
    node = next(n for n in document["entries"]["main"]["nodes"] if n["op"] == "call_function")
    node["target"] = "os.system"
    path.write_text(json.dumps(document))
    with pytest.raises(ProgramError, match=r"os\.system"):
        load_program(tmp_path / "program")
