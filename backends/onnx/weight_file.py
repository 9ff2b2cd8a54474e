"""One file of weights that several ONNX models refer to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import onnx_ir as ir

_INLINE_BYTES = 1024  # smaller tensors stay in the graph, where readers fold them
_PAGE_BYTES = 4096  # readers map a weight into memory from the start of a page


class WeightFile:
    """Weights beside ONNX models that lie in the same folder; equal ones are written once.

    Use it as a context: the file is complete at the end of the block.

    Args:
        path: The file; models refer to it by its name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[tuple[Any, ...], int] = {}

    def __enter__(self) -> WeightFile:
        self._file: BinaryIO = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, model: ir.Model) -> None:
        """Move the weights of a model into the file."""
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.nbytes >= _INLINE_BYTES:
                value.const_value = self._placed(tensor)

    def _placed(self, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        content = tensor.tobytes()
        key = (hashlib.sha256(content).digest(), tensor.dtype, tuple(tensor.shape))
        if key not in self._known:
            self._file.write(bytes(-self._file.tell() % _PAGE_BYTES))
            self._known[key] = self._file.tell()
            self._file.write(content)
        return ir.ExternalTensor(
            self._path.name,
            self._known[key],
            len(content),
            tensor.dtype,
            shape=ir.Shape(list(tensor.shape)),  # type: ignore[arg-type]  # static: a weight
            name=str(tensor.name),
            base_dir=self._path.parent,
        )
