"""How much of the GPU's memory is in use, and whether what is to come has room."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from gpu_programs import SkippedError

_GIB = 2**30
_BESIDES = 1.15
"""Times the weights: what activations and the allocators of a library take besides them."""


def used_bytes() -> int | None:
    """Of the whole device, by whomever; None where there is no GPU."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return total - free


def require_disk(needed: int, limit_gib: float, folder: Path) -> None:
    """Check what is to be written.

    Raises:
        SkippedError: it is more than the limit, or than is free.
    """
    if needed > limit_gib * _GIB:
        raise SkippedError(
            f"{needed / _GIB:.1f} GiB of files are needed and --max-onnx-gib is {limit_gib:g}: "
            "raise it where there is room"
        )
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SkippedError(
            f"{needed / _GIB:.1f} GiB of files are needed and {free / _GIB:.1f} GiB are free in "
            f"{folder}: set TMPDIR to a larger place"
        )


def require_memory(needed: int) -> None:
    """Check what is to be opened at once; nothing where there is no GPU.

    Raises:
        SkippedError: it does not fit into what is free on the device.
    """
    if not torch.cuda.is_available():
        return
    free, _ = torch.cuda.mem_get_info()
    if needed * _BESIDES > free:
        raise SkippedError(
            f"the dense model, prefill and decode have {needed / _GIB:.1f} GiB of weights when all "
            f"are open, as sides in turn want it, and {free / _GIB:.1f} GiB of the device are free"
        )
