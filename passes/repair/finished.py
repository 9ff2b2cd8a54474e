"""Windows that an interrupted reconstruction has finished, on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from prunec.passes.contract import Context
from prunec.passes.ir import Program
from prunec.passes.ir.digest import digest_program, make_key
from prunec.passes.ir.kept_tensors import keep_tensors, read_tensors
from prunec.passes.repair.training import Training


class FinishedWindows:
    """The trained weights of windows, under a digest of all that they depend on.

    Args:
        context: Its cache folder, text and teacher count. Without a folder nothing is kept.
        training: How they are trained.
        options: What else they depend on.
        program: What is repaired.
    """

    def __init__(
        self, context: Context, training: Training, options: tuple[int, ...], program: Program
    ) -> None:
        self._notice = context.notice
        self._folder = (
            None if context.cache is None else _folder(context, training, options, program)
        )

    def read(self, place: int) -> dict[str, torch.Tensor] | None:
        """What an earlier run made of a window; None where it has not come that far."""
        if self._folder is None:
            return None
        return read_tensors(self._folder / f"{place}.safetensors", self._notice)

    def write(self, place: int, trained: dict[str, torch.Tensor]) -> None:
        """Keep a window's weights."""
        if self._folder is not None:
            keep_tensors(self._folder / f"{place}.safetensors", trained)

    def forget(self) -> None:
        """Drop them all: the pass is done."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _folder(
    context: Context, training: Training, options: tuple[int, ...], program: Program
) -> Path:
    assert context.cache is not None
    assert context.teacher is not None
    key = make_key(
        ["passes"],
        program=context.analyse(digest_program, program),
        teacher=context.analyse(digest_program, context.teacher),
        text=context.require_calibration("reconstruct"),
        training=training,
        is_half=training.is_half,  # another processor may multiply otherwise
        options=options,
    )
    return context.cache / "reconstruct" / key
