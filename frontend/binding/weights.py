"""Put a loaded model's tensors into its program, by name, shape, type and sharing."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from prunec.frontend.binding.twin import identity, tensors_of
from prunec.frontend.tracing.errors import ExportError
from prunec.passes.ir import Program, cast


def bind_weights(program: Program, model: torch.nn.Module, dtype: torch.dtype) -> Program:
    """The same program with the model's tensors, computing in `dtype`.

    Tensors that have the type already are shared with the model.

    Raises:
        ExportError: the model lacks a tensor of the program, has it in another shape, has none
            or one where the program has one or several, or holds some that the program never
            reads.
    """
    tensors = dict(tensors_of(model))
    _require_present(program, model, tensors)
    _require_shapes(program, tensors)
    _require_all_read(program, model, tensors)
    _require_sharing(program, tensors)
    fake = cast(program, dtype)
    weights = {
        name: tensors[name].detach().to("cpu", weight.dtype)
        if name in tensors
        else program.weights[name]
        for name, weight in fake.weights.items()
    }
    return fake.with_weights(weights)


def computed_in(model: torch.nn.Module) -> torch.dtype:
    """The floating-point type that most of a model's parameters have."""
    dtypes = [p.dtype for p in model.parameters() if p.is_floating_point()]
    return max(set(dtypes), key=dtypes.count)


def _require_present(
    program: Program, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]
) -> None:
    absent = sorted(program.parameters().keys() - tensors.keys())
    if absent:
        raise ExportError(
            f"{type(model).__name__} lacks weights of the program, for example {absent[:3]}. Load "
            f"the checkpoint with the class that was traced: {program.origin.get('class')}"
        )


def _require_shapes(program: Program, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, weight in program.weights.items():
        if name in tensors and tensors[name].shape != weight.shape:
            raise ExportError(
                f"{name} is {list(tensors[name].shape)} as loaded and {list(weight.shape)} in "
                "the program: they are of different configurations, or it is packed. Load the "
                "weights dequantised and with their own configuration",
                in_python="Then trace that model",
            )


def _require_all_read(
    program: Program, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]
) -> None:
    read = {identity(tensors[name]) for name in program.weights if name in tensors}
    known = tuple(program.origin.get("left_out", ()))
    unread = [
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if identity(parameter) not in read
        and not any(name == part or name.startswith(f"{part}.") for part in known)
    ]
    if unread:
        raise ExportError(
            f"{type(model).__name__} has {unread[:3]}, which its program does not read: the model "
            "is not what its configuration says",
            in_python="Trace the model itself with trace_model",
        )


def _require_sharing(program: Program, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise where two weights of the program are one tensor of the model."""
    names: dict[object, str] = {}
    for name in program.parameters():
        first = names.setdefault(identity(tensors[name]), name)
        if first != name:
            raise ExportError(
                f"{first} and {name} are one loaded tensor, and two in the program",
                in_python="Trace the model itself with trace_model",
            )
