"""Name the versions that a number was measured with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from prunec import __version__


def versions() -> dict[str, str]:
    """Versions of prunec, Python, torch and ONNX Runtime, and the threads that torch uses."""
    found = {
        "prunec": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": str(torch.get_num_threads()),
    }
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
