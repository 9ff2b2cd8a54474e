"""Package an ONNX decoder for onnxruntime-genai."""

from prunec.backends.genai.folder import GenaiError, write_genai_folder

__all__ = ["GenaiError", "write_genai_folder"]
