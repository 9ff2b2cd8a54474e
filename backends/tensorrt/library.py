"""Find an installed TensorRT library; the table of what sets the two apart.

``tensorrt`` (10 and 11) and ``tensorrt_rtx`` have the same classes and methods as far as building
and running go. Everything that differs is a field of `Library`, so that no other module asks for a
name or a version.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import torch


class EngineError(Exception):
    """An engine cannot be built, loaded or run; the message says what to do."""


@dataclass(frozen=True)
class Library:
    """One of the TensorRT packages.

    Attributes:
        name: The package that is imported.
        extra: The optional dependency of this project that installs it.
        builds_without_gpu: Whether kernels are compiled later, on the device.
        has_targets: Whether an engine can name the compute capabilities that it is for.
        has_compatibility: Whether an engine can be made to outlive its version or its GPU.
        has_timing_cache: Whether tactics are timed at build time.
        has_float32_attention: Whether there is a kernel for ONNX Attention in float32.
        module: The imported package; None in the table.
    """

    name: str
    extra: str
    builds_without_gpu: bool
    has_targets: bool
    has_compatibility: bool
    has_timing_cache: bool
    has_float32_attention: bool
    module: Any = None

    @property
    def version(self) -> str:
        """The version of the imported package."""
        return str(self.module.__version__)

    def known_targets(self) -> dict[str, Any]:
        """Compute capabilities that an engine can name, such as ``8.9``, with their values."""
        members = self.module.ComputeCapability.__members__
        return {
            f"{name[2:-1]}.{name[-1]}": value
            for name, value in members.items()
            if name.startswith("SM")
        }


TABLE = (
    Library(
        name="tensorrt_rtx",
        extra="rtx",
        builds_without_gpu=True,
        has_targets=True,
        has_compatibility=False,
        has_timing_cache=False,  # there since 1.2 as calls that do nothing but warn
        has_float32_attention=False,
    ),
    Library(
        name="tensorrt",
        extra="tensorrt",
        builds_without_gpu=False,
        has_targets=False,
        has_compatibility=True,
        has_timing_cache=True,
        has_float32_attention=True,
    ),
)


def require_library(name: str = "auto") -> Library:
    """Import a TensorRT library.

    Args:
        name: ``tensorrt_rtx``, ``tensorrt``, or ``auto`` for the one that is installed; of two,
            the one that builds without a GPU where there is none, else ``tensorrt``.

    Raises:
        EngineError: the name is unknown, it is not installed, or its files are incomplete.
    """
    names = [library.name for library in TABLE]
    if name not in (*names, "auto"):
        raise EngineError(f"no TensorRT library is called {name!r}; there are {[*names, 'auto']}")
    preferred = TABLE if gpu_capability() is None else TABLE[::-1]
    wanted = [library for library in preferred if name in (library.name, "auto")]
    for library in wanted:
        if importlib.util.find_spec(library.name) is not None:
            return _imported(library)
    commands = " or ".join(f"pip install 'prunec[{library.extra}]'" for library in wanted)
    missing = " and ".join(library.name for library in wanted)
    raise EngineError(f"{missing}: not installed. Run {commands}")


def gpu_capability() -> str | None:
    """The compute capability of the current GPU such as ``8.9``; None where there is no GPU."""
    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}"


def _imported(library: Library) -> Library:
    try:
        module = importlib.import_module(library.name)
    except (ImportError, OSError) as error:
        raise EngineError(
            f"{library.name} is installed but cannot be imported: {error}. "
            f"Run pip install --force-reinstall 'prunec[{library.extra}]'"
        ) from error
    fields = {**library.__dict__, "module": module}
    return Library(**fields)
