"""Run ONNX files in ONNX Runtime."""

from prunec.backends.ort.decoder import OrtError
from prunec.backends.ort.experts_runner import ExpertsOrtRunner
from prunec.backends.ort.fold_cache import fold_cache
from prunec.backends.ort.open_onnx import open_onnx
from prunec.backends.ort.runner import OrtRunner

__all__ = ["ExpertsOrtRunner", "OrtError", "OrtRunner", "fold_cache", "open_onnx"]
