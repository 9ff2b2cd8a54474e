"""The rewrites of a file that an engine is built from."""

from __future__ import annotations

from prunec.backends.onnx.lower import ModelRewrite
from prunec.backends.onnx.spell_out_attention import spell_out_attention
from prunec.backends.onnx.split_top_k import split_top_k

FOR_TENSORRT: tuple[ModelRewrite, ...] = (split_top_k, spell_out_attention)
"""What TensorRT takes only in another form; the result is standard ONNX too."""
