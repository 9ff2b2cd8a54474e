"""Run ONNX files in ONNX Runtime."""

from prunec.backends.ort.decoder import OrtError
from prunec.backends.ort.experts_runner import ExpertsOrtRunner
from prunec.backends.ort.fold_cache import fold_cache
from prunec.backends.ort.open_onnx import open_onnx
from prunec.backends.ort.runner import OrtRunner
from prunec.backends.ort.whole_runner import OrtWholeRunner, keeps_cache

__all__ = [
    "ExpertsOrtRunner",
    "OrtError",
    "OrtRunner",
    "OrtWholeRunner",
    "fold_cache",
    "keeps_cache",
    "open_onnx",
]
