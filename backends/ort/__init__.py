"""Run ONNX files in ONNX Runtime."""

from prunec.backends.ort.fold_cache import fold_cache
from prunec.backends.ort.runner import OrtError, OrtRunner

__all__ = ["OrtError", "OrtRunner", "fold_cache"]
