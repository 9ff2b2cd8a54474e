"""How much of the GPU's memory is in use, and whether what is to come has room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gpu_bench.guard import SkippedError

_GIB = 2**30
_BESIDES = 1.15
"""Times the weights: what activations and the allocators of a library take besides them."""

_NO_MEMORY = ("failed to allocate", "out of memory", "outofmemory")


def used_bytes() -> int | None:
    """Of the whole device, by whomever; None where there is no GPU."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return total - free


@contextmanager
def out_of_memory_skips() -> Iterator[None]:
    """Tell a library's failure to get memory by its text: such errors have no class of their own.

    Raises:
        SkippedError: what ran in the context got no memory.
    """
    try:
        yield
    except Exception as error:  # whatever class a library has for it; all others go on
        if not any(words in str(error).lower() for words in _NO_MEMORY):
            raise
        raise SkippedError(f"out of device memory: {str(error).splitlines()[0]}") from error


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
