"""Run one part of a bench so that its failure does not cost the others."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any


class SkippedError(Exception):
    """A section cannot run on this machine; says what is missing."""


def guarded(name: str, run: Callable[[], Any]) -> Any:
    """What `run` returns, or why it was ``skipped``, or how it ``failed`` with its trace.

    Skipped is what says so by a `SkippedError`, what runs out of the device's memory, and what
    wants a package that is not installed.
    """
    print(f"{name} ...", flush=True)
    started = time.monotonic()
    try:
        result = run()
    except Exception as error:  # one library's failure must not cost the other sections
        reason = _reason_to_skip(error)
        if reason is not None:
            print(f"{name}: skipped, {reason}")
            return {"skipped": reason}
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    print(f"{name}: {time.monotonic() - started:.1f} s")
    return result


def _reason_to_skip(error: Exception) -> str | None:
    if isinstance(error, SkippedError):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":  # its module may be what cannot be imported
        return f"out of device memory: {str(error).splitlines()[0]}"
    is_ours = str(getattr(error, "name", "")).startswith(("prunec", "gpu_bench", "shared"))
    if isinstance(error, ModuleNotFoundError) and not is_ours:
        return f"not installed: {error.name}"
    return None
