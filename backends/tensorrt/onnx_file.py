"""Read from an ONNX file what must be known before the library parses it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from prunec.backends.tensorrt.library import EngineError
from prunec.backends.tensorrt.manifest import TensorSpec, file_sha256

_NAMES = {"FLOAT": "float32", "FLOAT16": "float16", "DOUBLE": "float64"}


@dataclass(frozen=True)
class OnnxFile:
    """The facts about an ONNX file that decide whether and how it can be built.

    Attributes:
        path: The graph; its weights may lie in other files beside it.
        inputs: With the labels of dynamic axes.
        outputs: With the labels of dynamic axes.
        precision: The element type that holds most of the weights' bytes.
        float32_attention: Names of ``Attention`` nodes that compute in float32.
        data_files: Files beside the graph that hold weights.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    precision: str
    float32_attention: tuple[str, ...]
    data_files: tuple[Path, ...]

    def sha256(self) -> dict[str, str]:
        """The digest of each file by its name, the graph first."""
        return {file.name: file_sha256(file) for file in (self.path, *self.data_files)}


def read_onnx(path: Path) -> OnnxFile:
    """Read the graph of an ONNX file without loading its weights.

    Raises:
        EngineError: there is no such file, it is no ONNX model, or its data is missing.
    """
    if not path.is_file():
        raise EngineError(f"{path} does not exist: export the program to ONNX first")
    try:
        graph = ir.load(path).graph
    except Exception as error:  # protobuf and onnx_ir raise many types for a damaged file
        raise EngineError(f"{path} is no ONNX model that can be read: {error}") from error
    weights = [value.const_value for value in graph.initializers.values()]
    data_files = {Path(weight.path) for weight in weights if isinstance(weight, ir.ExternalTensor)}
    missing = sorted(str(file) for file in data_files if not file.is_file())
    if missing:
        raise EngineError(f"{path} keeps weights in {', '.join(missing)}, which does not exist")
    return OnnxFile(
        path=path,
        inputs=tuple(_spec(value) for value in graph.inputs),
        outputs=tuple(_spec(value) for value in graph.outputs),
        precision=_precision([weight for weight in weights if weight is not None]),
        float32_attention=tuple(
            node.name or node.outputs[0].name or "unnamed"
            for node in graph
            if node.op_type == "Attention" and _computes_in_float32(node)
        ),
        data_files=tuple(sorted(data_files)),
    )


def _spec(value: ir.Value) -> TensorSpec:
    if value.shape is None or value.dtype is None:
        raise EngineError(f"{value.name} has no shape or type in the ONNX file: export it again")
    shape = tuple(
        size if isinstance(size, int) else size.value or f"{value.name}.{axis}"
        for axis, size in enumerate(value.shape)
    )
    return TensorSpec(str(value.name), _dtype_name(value.dtype), shape)


def _dtype_name(dtype: ir.DataType) -> str:
    return _NAMES.get(dtype.name, dtype.name.lower())


def _precision(weights: list[ir.TensorProtocol]) -> str:
    sizes: Counter[str] = Counter()
    for weight in weights:
        if weight.dtype.is_floating_point():
            sizes[_dtype_name(weight.dtype)] += weight.nbytes
    return sizes.most_common(1)[0][0] if sizes else "none"


def _computes_in_float32(node: ir.Node) -> bool:
    """Whether query, key or value is float32; types that the file leaves out say nothing."""
    values = [value for value in (*node.inputs[:3], node.outputs[0]) if value is not None]
    return any(value.dtype is ir.DataType.FLOAT for value in values)
