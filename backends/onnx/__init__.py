"""Write programs as standard ONNX."""

from prunec.backends.onnx.errors import OnnxError
from prunec.backends.onnx.export import OnnxReport, export_onnx
from prunec.backends.onnx.export_experts import ExpertsReport, export_experts
from prunec.backends.onnx.for_tensorrt import FOR_TENSORRT

__all__ = [
    "FOR_TENSORRT",
    "ExpertsReport",
    "OnnxError",
    "OnnxReport",
    "export_experts",
    "export_onnx",
]
