"""Load an engine, after checking in words everything that would fail in the library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunec.backends.tensorrt.library import (
    EngineError,
    Library,
    gpu_capability,
    require_library,
)
from prunec.backends.tensorrt.manifest import EngineManifest, file_sha256, read_manifest
from prunec.backends.tensorrt.messages import Messages

_AMPERE = (8, 0)


@dataclass(frozen=True)
class LoadedEngine:
    """An engine on the GPU.

    Attributes:
        manifest: What it is.
        library: The library that runs it.
        engine: The library's own object.
        runtime: Kept because the engine needs it for as long as it lives.
        messages: What the library says while the engine is used.
    """

    manifest: EngineManifest
    library: Library
    engine: Any
    runtime: Any
    messages: Messages


def load_engine(path: Path) -> LoadedEngine:
    """Load an engine onto the current GPU.

    Raises:
        EngineError: a file is missing or changed, or this machine is not one that runs it:
            another library or version, no GPU, or another compute capability.
    """
    manifest = read_manifest(path)
    library = require_library(manifest.library)
    _require_version(manifest, library)
    _require_gpu(manifest)
    if file_sha256(path) != manifest.engine_sha256:
        raise EngineError(f"{path} is not the file that its manifest describes: build it again")
    messages = Messages(library.module)
    runtime = library.module.Runtime(messages.logger)
    # Version-compatible engines carry their own runtime code, which is off by default.
    if manifest.options.get("version_compatible"):
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise EngineError(f"{library.name} could not load {path}: {messages.quoted()}")
    return LoadedEngine(manifest, library, engine, runtime, messages)


def _require_version(manifest: EngineManifest, library: Library) -> None:
    here, needed = library.version, manifest.library_version
    if here == needed:
        return
    if manifest.options.get("version_compatible") and _numbers(here) > _numbers(needed):
        return
    raise EngineError(
        f"this engine was built by {manifest.library} {needed} and {here} is installed: install "
        f"{manifest.library}=={needed}, or build the engine again"
    )


def _require_gpu(manifest: EngineManifest) -> None:
    here = gpu_capability()
    if here is None:
        raise EngineError(f"there is no NVIDIA GPU here. This engine runs on {manifest.runs_on}")
    fits = here in manifest.targets if manifest.targets else _numbers(here) >= _AMPERE
    if not fits:
        raise EngineError(
            f"this GPU has compute capability {here}. This engine runs on {manifest.runs_on}: "
            "build it again for this GPU"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
