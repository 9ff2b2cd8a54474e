"""Say what a measurement was made on."""

from __future__ import annotations

import datetime
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "transformers",
    "onnx",
    "onnxscript",
    "onnx-ir",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
)


def describe(checkout: Path) -> dict[str, Any]:
    """The device, the driver, versions, the date and the commit; device None without a GPU."""
    return {
        "device": _device() if torch.cuda.is_available() else None,
        "driver": _first_line(
            ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader"]
        ),
        "cuda": torch.version.cuda,
        "cpu": platform.processor() or platform.machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _first_line(["git", "-C", str(checkout), "rev-parse", "HEAD"]),
        "changed_files": _line_count(["git", "-C", str(checkout), "status", "--porcelain"]),
        "versions": _versions(),
    }


def _device() -> dict[str, Any]:
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "compute_capability": f"{found.major}.{found.minor}",
        "memory_bytes": found.total_memory,
        "multiprocessors": found.multi_processor_count,
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _output(command: list[str]) -> list[str] | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else None


def _first_line(command: list[str]) -> str | None:
    lines = _output(command)
    return lines[0] if lines else None


def _line_count(command: list[str]) -> int | None:
    lines = _output(command)
    return None if lines is None else len(lines)
