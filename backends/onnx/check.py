"""Have a file read by its readers before anybody is handed it."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernelError

from prunec.backends.onnx.errors import OnnxError

CHECKER, RUNTIME = "onnx.checker", "onnxruntime"

_WITHOUT_KERNELS = {ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
"""Element types that ONNX Runtime has too few operators for on the CPU."""


def require_readable(path: Path, model: ir.Model) -> tuple[str, ...]:
    """Check the operators, types and shapes of a written file, and open it in ONNX Runtime.

    Nothing is run. A file in bfloat16 or float64 need not open: its types are checked, but
    ONNX Runtime has no kernels on the CPU for many operators.

    Args:
        path: The file, its weights where it says that they are.
        model: What the file was written from.

    Returns:
        The readers that took it.

    Raises:
        OnnxError: a reader refuses the file.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _refusal(CHECKER, path, error) from error
    try:
        onnxruntime.InferenceSession(path, _options(), providers=["CPUExecutionProvider"])
    except NoKernelError as error:
        if _WITHOUT_KERNELS.isdisjoint(_element_types(model)):
            raise _refusal(RUNTIME, path, error) from error
        return (CHECKER,)
    except Exception as error:  # its exceptions share no base of their own
        raise _refusal(RUNTIME, path, error) from error
    return CHECKER, RUNTIME


def _refusal(reader: str, path: Path, error: Exception) -> OnnxError:
    reason = " ".join(str(error).replace(f"{path.parent}/", "").split())
    return OnnxError(
        f"{reader} refuses {path.name}, so it was not kept: {reason}. If the program runs in "
        "PyTorch in this precision, its translation is wrong: please report it"
    )


def _options() -> onnxruntime.SessionOptions:
    """Open without improving anything: as fast, and with as little memory, as may be."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # the error that is raised says it, too
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.intra_op_num_threads = 1
    return options


def _element_types(model: ir.Model) -> set[ir.DataType | None]:
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    return {v.dtype for v in (*values, *(v for node in model.graph for v in node.outputs))}
