"""Read what a GGUF file says once: configuration, tokenizer and weights all ask for it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let the loaders of transformers share one reader of a file, and one table of names.

    They parse the whole vocabulary for each part that they load, and build the table of tensor
    names for every module of the model: seconds each, on any file. Can go when the loader for
    legacy architectures (transformers ``modeling_gguf_pytorch_utils``) does.
    """
    import gguf

    with (
        patch.object(gguf, "GGUFReader", read_file),
        patch.object(gguf, "get_tensor_name_map", _tensor_names(gguf.get_tensor_name_map)),
    ):
        yield


def read_file(path: str | Path) -> Any:
    """The file's reader (gguf); the same one while the file does not change."""
    status = Path(path).stat()
    return _read(str(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1)
def _read(path: str, _changed: int, _size: int) -> Any:
    from gguf.gguf_reader import GGUFReader

    return GGUFReader(path)


@functools.cache
def _tensor_names(build: Any) -> Any:
    return functools.cache(build)
