"""Write programs as standard ONNX."""

from prunec.backends.onnx.export import OnnxError, OnnxReport, export_onnx

__all__ = ["OnnxError", "OnnxReport", "export_onnx"]
