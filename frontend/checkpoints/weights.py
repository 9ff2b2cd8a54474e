"""Which weight files a checkpoint is loaded from, and what their headers say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open

from prunec.frontend.checkpoints.documents import read_object
from prunec.frontend.checkpoints.facts import Stored
from prunec.frontend.checkpoints.findings import Finding, some

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_OBTAIN = "Obtain the checkpoint again"

Read = tuple[Mapping[str, Stored], list[Finding]]


def read_weights(folder: Path, extra_files: Iterable[str] = ()) -> Read:
    """What the headers of the files say that transformers loads from a folder, by tensor.

    Args:
        folder: The checkpoint's.
        extra_files: More files that the configuration's class loads where they are there.

    Returns:
        The tensors, empty where a file is missing or damaged, and what is wrong.
    """
    shards, listed, found = _weight_files(folder)
    shards += [name for name in extra_files if (folder / name).is_file()]
    tensors: dict[str, Stored] = {}
    for shard in shards:
        inside, damaged = _read_header(folder / shard)
        found += damaged
        tensors |= inside
        absent = [name for name, file in listed.items() if file == shard and name not in inside]
        if absent and not damaged:
            there = f"{INDEX} lists tensors in {shard} that are not in it: {some(absent)}"
            found.append(Finding(there, _OBTAIN))
    return ({}, found) if found else (tensors, [])


def taken_instead(folder: Path, document: Mapping[str, Any]) -> list[Finding]:
    """What would make transformers load other files than those that are looked at."""
    other = document.get("transformers_weights")
    parts = [path.name for path in folder.glob("shard-*-model-*-of-*.safetensors")]
    found = []
    if other is not None:
        there = f"config.json names other weight files by transformers_weights ({other})"
        found.append(Finding(there, f"Name the file {WHOLE} and remove the entry"))
    if parts:
        there = f"the folder holds parts of a distributed checkpoint ({some(parts)})"
        found.append(Finding(there, "Save the model as one with save_pretrained"))
    return found


def weight_names(folder: Path) -> list[str]:
    """The files that transformers loads from a folder whose index is there."""
    return _weight_files(folder)[0]


def _weight_files(folder: Path) -> tuple[list[str], Mapping[str, str], list[Finding]]:
    """The files, which file the index lists for each tensor, and what is wrong."""
    if (folder / WHOLE).is_file():
        return [WHOLE], {}, []
    if not (folder / INDEX).is_file():
        return [], {}, [_without_weights(folder)]
    document, found = read_object(folder / INDEX)
    if found:
        return [], {}, found
    listed = document.get("weight_map")
    if not isinstance(document.get("metadata"), dict):
        found = [Finding(f"{INDEX} has no metadata", 'Add "metadata": {} to it')]
    if not isinstance(listed, dict) or not listed or not all(map(_is_name, listed.values())):
        return [], {}, [_odd_index(listed), *found]
    return sorted(set(listed.values())), listed, found


def _is_name(value: Any) -> bool:
    """Whether the index names a file inside the folder."""
    if not isinstance(value, str):
        return False
    path = PurePosixPath(value)
    inside = not path.is_absolute() and ".." not in path.parts and "\\" not in value
    return inside and path.suffix == ".safetensors"


def _odd_index(listed: Any) -> Finding:
    if not isinstance(listed, dict) or not listed:
        return Finding(f"{INDEX} has no weight_map from tensors to files", _OBTAIN)
    odd = [str(value) for value in listed.values() if not _is_name(value)]
    return Finding(
        f"{INDEX} names files that are no *.safetensors inside the folder: {some(set(odd))}",
        "Such files are not opened. Obtain the checkpoint again from a source that you trust",
    )


def _without_weights(folder: Path) -> Finding:
    """Say what is there instead of weights that are read."""
    there = sorted(path.name for path in folder.iterdir() if path.is_file())
    pickled = [name for name in there if name.endswith(_PICKLED) and name != "training_args.bin"]
    others = [name for name in there if name.endswith(".safetensors")]
    packed = [name for name in there if name.endswith(".gguf")]
    if packed:
        return Finding(
            f"there is no {WHOLE}, but {some(packed)}", f"Give the file: {folder / packed[0]}"
        )
    if others:
        return Finding(
            f"there is no {WHOLE} and no {INDEX}; the other weight files here are not read: "
            f"{some(others)}",
            f"Name a file with the whole model {WHOLE}; parts of one need their {INDEX}",
        )
    if pickled:
        return Finding(f"the weights are pickled ({some(pickled)}), which is not read", _CONVERT)
    remedy = f"{_OBTAIN}, as {WHOLE} or parts with their {INDEX}; pickled weights are not read"
    return Finding(f"there are no weights; the folder has {some(there) or 'nothing'}", remedy)


_CONVERT = (
    "Convert them once, if you trust their source:\n"
    "     from transformers import AutoModelForCausalLM\n"
    "     AutoModelForCausalLM.from_pretrained(FOLDER, use_safetensors=False)"
    ".save_pretrained(FOLDER)"
)


def _read_header(path: Path) -> Read:
    """The tensors of a safetensors file; compares its size with what the header promises."""
    if not path.is_file():
        return {}, [Finding(f"{INDEX} names {path.name}, which is missing", _OBTAIN)]
    size = path.stat().st_size
    if not size:
        return {}, [Finding(f"{path.name} is empty: 0 bytes", _OBTAIN)]
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if 0 < length < size else b""
    try:
        header = {k: v for k, v in json.loads(text).items() if k != "__metadata__"}
        end = max(int(tensor["data_offsets"][1]) for tensor in header.values())
        tensors = {k: Stored(tuple(v["shape"]), v["dtype"]) for k, v in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return {}, [_damaged(path, size, length)]
    if size != 8 + length + end:
        promised = f"{size} bytes, its header promises {8 + length + end}"
        word = "cut short" if size < 8 + length + end else "damaged"
        return {}, [Finding(f"{path.name} is {word}: {promised}", _OBTAIN)]
    try:
        with safe_open(path, framework="pt"):
            return tensors, []
    except SafetensorError as error:
        return {}, [Finding(f"{path.name} is damaged: {error}", _OBTAIN)]


def _damaged(path: Path, size: int, length: int) -> Finding:
    if size < 8 + length and length < 1 << 27:
        there = f"{path.name} is cut short inside its header: {size} bytes of at least {8 + length}"
        return Finding(there, _OBTAIN)
    with path.open("rb") as file:
        begins = file.read(24)
    if begins.startswith(b"version https://git-lfs"):
        return Finding(
            f"{path.name} is a pointer of Git LFS, not the file", "Fetch it: git lfs pull"
        )
    return Finding(f"{path.name} is damaged: its header cannot be read", _OBTAIN)
