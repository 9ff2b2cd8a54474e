from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from prunec.passes.ir.kept_tensors import keep_tensors, read_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1, dtype=torch.int64)}


def read(file: Path) -> tuple[dict[str, torch.Tensor] | None, list[str]]:
    notices: list[str] = []
    return read_tensors(file, notices.append), notices


def test_what_was_kept_is_read_and_nothing_is_said(tmp_path: Path) -> None:
    keep_tensors(tmp_path / "new" / "kept", {**TENSORS, "turned": TENSORS["a"].T})
    found, notices = read(tmp_path / "new" / "kept")
    assert found is not None
    assert found.keys() == {"a", "b", "turned"}
    assert torch.equal(found["turned"], TENSORS["a"].T)
    assert not notices


def test_where_nothing_was_kept_nothing_is_said(tmp_path: Path) -> None:
    assert read(tmp_path / "kept") == (None, [])


@pytest.mark.parametrize("place", [-1, -9, 4, 40], ids=["value", "other value", "length", "header"])
def test_one_flipped_bit_anywhere_is_found_and_said(tmp_path: Path, place: int) -> None:
    file = tmp_path / "kept"
    keep_tensors(file, TENSORS)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert read(file) == (None, [f"{file} is damaged; what it held is made anew"])


@pytest.mark.parametrize("length", [0, 4, 50])
def test_a_file_that_is_cut_short_is_found_and_said(tmp_path: Path, length: int) -> None:
    file = tmp_path / "kept"
    keep_tensors(file, TENSORS)
    file.write_bytes(file.read_bytes()[:length])
    assert read(file) == (None, [f"{file} is damaged; what it held is made anew"])


def test_a_file_without_a_digest_is_not_believed(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "kept")
    found, notices = read(tmp_path / "kept")
    assert found is None
    assert len(notices) == 1
