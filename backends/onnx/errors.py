"""What can go wrong while a program is written as ONNX."""


class OnnxError(Exception):
    """A program cannot be written as ONNX."""
