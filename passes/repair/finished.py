"""Windows that an interrupted reconstruction has finished, on disk."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from prunec.passes.contract import Context
from prunec.passes.ir import Program, replaced_file
from prunec.passes.ir.digest import digest_program, digest_tensor
from prunec.passes.repair.training import Training


class FinishedWindows:
    """The trained weights of windows, under a digest of all that they depend on.

    Args:
        context: Its cache folder, text and reference count. Without a folder nothing is kept.
        training: How they are trained.
        options: What else they depend on.
        program: What is repaired.
    """

    def __init__(
        self, context: Context, training: Training, options: tuple[int, ...], program: Program
    ) -> None:
        self._folder = (
            None if context.cache is None else _folder(context, training, options, program)
        )

    def read(self, place: int) -> dict[str, torch.Tensor] | None:
        """What an earlier run made of a window; None where it has not come that far."""
        if self._folder is None:
            return None
        try:
            return load_file(self._folder / f"{place}.safetensors")
        except (FileNotFoundError, SafetensorError):
            return None

    def write(self, place: int, trained: dict[str, torch.Tensor]) -> None:
        """Keep a window's weights."""
        if self._folder is not None:
            with replaced_file(self._folder / f"{place}.safetensors") as partial:
                save_file({n: w.contiguous() for n, w in trained.items()}, partial)

    def forget(self) -> None:
        """Drop them all: the pass is done."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _folder(
    context: Context, training: Training, options: tuple[int, ...], program: Program
) -> Path:
    assert context.cache is not None
    assert context.reference is not None
    how = (training, training.is_half, options, torch.__version__)
    digest = hashlib.sha256(repr(how).encode())  # another processor may multiply otherwise
    for part in (program, context.reference):
        digest.update(context.analyse(digest_program, part))
    digest.update(digest_tensor(context.require_calibration("reconstruct")))
    return context.cache / "reconstruct" / digest.hexdigest()
