"""A GGUF file is parsed once, and again when it changes."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import pytest

from prunec.frontend.checkpoints.gguf import parsed_once, read_file


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_loaders_share_one_reader(small_file: Path) -> None:
    with parsed_once():
        assert gguf.GGUFReader(small_file) is gguf.GGUFReader(str(small_file))
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
        assert gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2) is names


def test_a_changed_file_is_read_again(small_file: Path) -> None:
    before = read_file(small_file)
    os.utime(small_file, ns=(1, 1))
    assert read_file(small_file) is not before


def test_the_library_is_itself_again_afterwards() -> None:
    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    with parsed_once():
        pass
    assert gguf.GGUFReader is reader
    assert gguf.get_tensor_name_map is names
