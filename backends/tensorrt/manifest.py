"""What an engine is and what runs it, written beside the engine as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from prunec.backends.tensorrt.library import EngineError
from prunec.backends.tensorrt.options import AxisRange, Profile


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: its name, element type, and sizes or axis labels."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class EngineManifest:
    """Everything that can be known about an engine without a GPU.

    Attributes:
        library: The package that built it and runs it.
        library_version: Of that package.
        runs_on: A sentence for people: which GPUs and which library run it.
        targets: Compute capabilities that it was built for. Empty: Ampere and later.
        device: The GPU that it was built on; empty where there was none.
        precision: The element type of most weights.
        profiles: The sizes that it accepts.
        inputs: In the order of the engine.
        outputs: In the order of the engine.
        options: The builder's settings.
        onnx_sha256: By file name, the graph first and its data after it.
        engine_sha256: Of the engine file.
        size_bytes: Of the engine file.
        seconds: What parsing and building took.
    """

    library: str
    library_version: str
    runs_on: str
    targets: tuple[str, ...]
    device: str
    precision: str
    profiles: tuple[Profile, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    options: Mapping[str, Any]
    onnx_sha256: Mapping[str, str]
    engine_sha256: str
    size_bytes: int
    seconds: float

    def to_json(self) -> str:
        """The manifest as text that `from_json` reads."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["profiles"] = {
            p.name: {label: asdict(sizes) for label, sizes in p.axes.items()} for p in self.profiles
        }
        for ports in ("inputs", "outputs"):
            plain[ports] = [asdict(spec) for spec in plain[ports]]
        return json.dumps(plain, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EngineManifest:
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is not JSON, or a field is missing or unknown.
        """
        plain = json.loads(text)
        try:
            plain["targets"] = tuple(plain["targets"])
            plain["profiles"] = tuple(
                Profile(name, {label: AxisRange(**sizes) for label, sizes in axes.items()})
                for name, axes in plain["profiles"].items()
            )
            for ports in ("inputs", "outputs"):
                plain[ports] = tuple(
                    TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"]))
                    for spec in plain[ports]
                )
            return cls(**plain)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a field is missing or unknown: {error}") from error


def manifest_path(engine: Path) -> Path:
    """Where the manifest of an engine lies: ``<engine>.json`` beside it."""
    return engine.with_name(engine.name + ".json")


def read_manifest(engine: Path) -> EngineManifest:
    """Read the manifest of an engine.

    Raises:
        EngineError: there is no engine, no manifest beside it, or the manifest is damaged.
    """
    path = manifest_path(engine)
    for file in (engine, path):
        if not file.is_file():
            raise EngineError(f"{file} does not exist: build the engine first")
    try:
        return EngineManifest.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EngineError(
            f"{path} is no manifest of an engine ({error}): build it again"
        ) from error


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
