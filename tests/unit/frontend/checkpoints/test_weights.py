"""The weight files that are looked at are those that are loaded, and they are whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from prunec.frontend.checkpoints.weights import INDEX, WHOLE
from prunec.frontend.sources import SourceError, find_checkpoint
from support.checkpoints import change_header, change_json


def shard(folder: Path) -> list[str]:
    """Split the weights into two files and an index."""
    tensors = load_file(folder / WHOLE)
    (folder / WHOLE).unlink()
    files = [f"model-{number:05d}-of-00002.safetensors" for number in (1, 2)]
    listed = {name: files[position % 2] for position, name in enumerate(sorted(tensors))}
    for file in files:
        save_file({k: v for k, v in tensors.items() if listed[k] == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    return files


def relist(folder: Path, file: str) -> None:
    index = json.loads((folder / INDEX).read_text())
    first = min(index["weight_map"])
    change_json(folder / INDEX, weight_map={**index["weight_map"], first: file})


def drop(folder: Path, name: str) -> None:
    (folder / name).unlink()


def empty(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")


def lose_tensor(folder: Path, name: str) -> None:
    tensors = load_file(folder / name)
    tensors.pop(min(tensors))
    save_file(tensors, folder / name)


SHARDED: dict[str, tuple[Callable[[Path, str], Any], str]] = {
    "missing": (drop, "which is missing"),
    "empty": (empty, "is empty: 0 bytes"),
    "a tensor missing": (lose_tensor, "lists tensors in"),
    "above": (lambda f, _: relist(f, "../model.safetensors"), "inside the folder"),
    "absolute": (lambda f, _: relist(f, "/etc/model.safetensors"), "inside the folder"),
    "pickled": (lambda f, _: relist(f, "pytorch_model.bin"), "inside the folder"),
    "no map": (lambda f, _: change_json(f / INDEX, weight_map=None), "has no weight_map"),
    "no metadata": (lambda f, _: change_json(f / INDEX, metadata=None), "has no metadata"),
    "no JSON": (lambda f, _: (f / INDEX).write_text("{"), f"{INDEX} is damaged"),
    "no object": (lambda f, _: (f / INDEX).write_text("[]"), "not an object"),
    "no index": (lambda f, _: (f / INDEX).unlink(), f"parts of one need their {INDEX}"),
}
WHOLE_FILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-9]), "is cut short: "),
    "cut in the header": (lambda p: p.write_bytes(p.read_bytes()[:99]), "inside its header"),
    "longer": (lambda p: p.write_bytes(p.read_bytes() + b"0"), "is damaged: "),
    "noise": (lambda p: p.write_bytes(b"\xff" * 999), "its header cannot be read"),
    "pointer": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid 1\n"),
        "pointer of Git LFS",
    ),
    "overlap": (
        lambda p: change_header(p, lambda h: h["model.norm.weight"].update(shape=[7])),
        "is damaged: ",
    ),
}


def test_a_sharded_checkpoint_is_loaded(folder: Path) -> None:
    before = find_checkpoint(str(folder)).load_model().state_dict()
    shard(folder)
    after = find_checkpoint(str(folder)).load_model().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("case", SHARDED)
def test_an_index_and_its_shards_must_agree(case: str, folder: Path) -> None:
    spoil, words = SHARDED[case]
    spoil(folder, shard(folder)[0])
    with pytest.raises(SourceError) as caught:
        find_checkpoint(str(folder))
    assert words in str(caught.value)


@pytest.mark.parametrize("case", WHOLE_FILE)
def test_a_file_that_is_not_whole_is_named(case: str, folder: Path) -> None:
    spoil, words = WHOLE_FILE[case]
    spoil(folder / WHOLE)
    with pytest.raises(SourceError, match=r"model\.safetensors") as caught:
        find_checkpoint(str(folder))
    assert words in str(caught.value)


def test_every_damaged_shard_is_named(folder: Path) -> None:
    for file in shard(folder):
        (folder / file).unlink()
    with pytest.raises(SourceError, match="for 2 reasons"):
        find_checkpoint(str(folder))


def test_pickled_weights_come_with_how_to_convert_them(folder: Path) -> None:
    torch.save(load_file(folder / WHOLE), folder / "pytorch_model.bin")
    (folder / WHOLE).unlink()
    with pytest.raises(SourceError, match=r"pickled \(pytorch_model\.bin\)") as caught:
        find_checkpoint(str(folder))
    assert "use_safetensors=False" in str(caught.value)


def test_pickled_weights_are_not_read_where_another_file_passes_the_look(folder: Path) -> None:
    tensors = load_file(folder / WHOLE)
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / WHOLE).rename(folder / "weights.safetensors")
    with pytest.raises(SourceError, match=r"not read: weights\.safetensors"):
        find_checkpoint(str(folder))


def test_pickled_weights_are_not_read_even_where_the_file_is_gone_since_the_look(
    folder: Path,
) -> None:
    checkpoint = find_checkpoint(str(folder))
    torch.save(load_file(folder / WHOLE), folder / "pytorch_model.bin")
    (folder / WHOLE).unlink()
    with pytest.raises(SourceError, match="could not be loaded"):
        checkpoint.load_model()


def test_the_whole_file_goes_before_an_index_beside_it(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    assert find_checkpoint(str(folder)).load_model() is not None


def test_files_that_would_be_loaded_in_its_place_are_refused(folder: Path) -> None:
    change_json(folder / "config.json", transformers_weights="other.safetensors")
    with pytest.raises(SourceError, match="transformers_weights"):
        find_checkpoint(str(folder))


def test_a_distributed_checkpoint_would_be_loaded_in_its_place(folder: Path) -> None:
    (folder / "shard-00000-model-00001-of-00001.safetensors").write_bytes(b"")
    with pytest.raises(SourceError, match="distributed"):
        find_checkpoint(str(folder))


def test_a_folder_without_weights_says_what_is_there(folder: Path) -> None:
    (folder / WHOLE).unlink()
    with pytest.raises(SourceError, match=r"no weights; the folder has .*config\.json"):
        find_checkpoint(str(folder))
