"""The runner that an ONNX file or folder needs."""

from __future__ import annotations

from pathlib import Path

from prunec.backends.ort.experts_runner import ExpertsOrtRunner
from prunec.backends.ort.runner import OrtRunner
from prunec.backends.runner import Runner


def open_onnx(path: Path) -> Runner:
    """Step a decoder's file, or the folder of both models of a prompt's choice.

    Raises:
        OrtError, ExpertsError: it is neither, or cannot be opened.
    """
    return ExpertsOrtRunner(path) if path.is_dir() else OrtRunner(path)
