"""Whether the files of a checkpoint are whole."""

from __future__ import annotations

import json
from pathlib import Path

from prunec.frontend.checkpoints.errors import SourceError
from prunec.frontend.checkpoints.gguf import read_file


def require_config(folder: Path) -> None:
    """Check that a folder has a configuration.

    Raises:
        SourceError: it has none.
    """
    if not (folder / "config.json").is_file():
        there = sorted(p.name for p in folder.iterdir())[:8]
        raise SourceError(f"{folder} has no config.json; there is {there or 'nothing'}")


def require_complete(folder: Path) -> None:
    """Check that a folder has all its weight files, at the sizes that their headers promise.

    Raises:
        SourceError: a file is missing or cut short, or there is none.
    """
    require_config(folder)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        shards = sorted(p.name for p in folder.glob("*.safetensors"))
    if not shards:
        raise SourceError(f"{folder} has no *.safetensors file: pickled weights are not read")
    for shard in shards:
        _require_safetensors(folder / shard)


def _require_safetensors(path: Path) -> None:
    """Compare the file's size with the one that its header promises."""
    if not path.is_file():
        raise SourceError(f"{path} is named by the index but missing. Obtain the checkpoint again")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if 0 < length < size else b""
    try:
        tensors = json.loads(header)
        end = max(t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is damaged: its header cannot be read") from error
    if size != 8 + length + end:
        raise SourceError(
            f"{path} is cut short: {size} bytes, its header promises {8 + length + end}. "
            "Obtain it again"
        )


def require_gguf(path: Path) -> None:
    """Check that a GGUF file is whole.

    Raises:
        SourceError: it is missing, of another format, or cut short.
    """
    if not path.is_file():
        raise SourceError(f"no file at {path}")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise SourceError(f"{path} is not a GGUF file: it begins with {magic!r}")
    try:
        reader = read_file(path)
        end = max(int(t.data_offset) + int(t.n_bytes) for t in reader.tensors)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is cut short or damaged. Obtain it again") from error
    if path.stat().st_size < end:
        raise SourceError(
            f"{path} is cut short: {path.stat().st_size} bytes of {end}. Obtain it again"
        )
