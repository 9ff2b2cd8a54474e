"""Copies of a loaded model with other tensors in it; the model itself stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from prunec.frontend.tracing.errors import ExportError
from prunec.frontend.tracing.precision import TRACED


def tensors_of(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers under every name that they have."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def identity(tensor: torch.Tensor) -> tuple[Any, ...]:
    """The same for tensors that are one: one object, or one view of one memory."""
    if tensor.device.type == "meta" or tensor.numel() == 0 or type(tensor).__name__ == "FakeTensor":
        return (id(tensor),)
    place = tensor.untyped_storage().data_ptr(), tensor.storage_offset()
    return *place, tensor.dtype, tuple(tensor.shape), tensor.stride()


def twin(model: Any, replacement: Callable[[str, torch.Tensor], torch.Tensor]) -> Any:
    """The model with each tensor replaced; what was tied stays tied.

    Args:
        model: Any module.
        replacement: The tensor in place of the one of this name; called once for tied ones.

    Raises:
        ExportError: the object cannot be copied.
    """
    found: dict[tuple[Any, ...], torch.Tensor] = {}
    memo: dict[int, Any] = {}
    for name, tensor in tensors_of(model):
        key = identity(tensor)
        if key not in found:
            new = replacement(name, tensor.detach())
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            found[key] = torch.nn.Parameter(new, requires_grad=False) if is_parameter else new
        memo[id(tensor)] = found[key]
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # whatever the objects inside raise
        raise ExportError(
            f"{type(model).__name__} cannot be copied to be traced ({error}): save it with "
            "save_pretrained and load it again"
        ) from error


def fake_twin(
    model: Any, described: Mapping[str, torch.Tensor], dtype: torch.dtype, attention: str | None
) -> Any:
    """The model in evaluation mode with fake parameters, in another precision.

    Args:
        model: A loaded model of transformers.
        described: The tensors of the model that its configuration describes, in `TRACED`. Where
            that keeps one in a type of its own, such as a rotary table, the copy does, too.
        dtype: What it computes in.
        attention: An attention implementation of transformers; the model's own where not given.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}

    def replacement(name: str, tensor: torch.Tensor) -> torch.Tensor:
        wanted = _type_of(name, tensor, described, dtype, name in parameters)
        if name not in parameters:
            return tensor.to("cpu", wanted, copy=True)
        with mode:
            return torch.empty(tensor.shape, dtype=wanted)

    copied = twin(model, replacement)
    copied.config.return_dict = True
    _compute_in(copied.config, dtype)
    if copied._can_set_experts_implementation():
        # The default sorts tokens by expert, into groups whose sizes depend on data.
        copied.set_experts_implementation("batched_mm")
    if attention:
        copied.set_attn_implementation(attention)
    return copied.eval()


def _type_of(
    name: str,
    tensor: torch.Tensor,
    described: Mapping[str, torch.Tensor],
    dtype: torch.dtype,
    is_parameter: bool,
) -> torch.dtype:
    if not tensor.is_floating_point():
        return tensor.dtype
    if name in described:
        kept = described[name].dtype
        return dtype if kept == TRACED else kept
    return dtype if is_parameter else tensor.dtype


def _compute_in(config: Any, dtype: torch.dtype) -> None:
    config.dtype = dtype
    for part in config.sub_configs:
        if getattr(config, part, None) is not None:
            _compute_in(getattr(config, part), dtype)


def reference(
    model: Any, weights: Mapping[str, torch.Tensor], dtype: torch.dtype | None = None
) -> Any:
    """What a program is compared with: the model, in its own or a wider type.

    Args:
        model: A loaded model of transformers.
        weights: Tensors in `dtype`, which a copy in that type shares.
        dtype: What it computes in; its own type where not given.

    Returns:
        The model itself, or a copy that shares its tensors and computes its experts one by one:
        their default takes only sizes that hold whole vectors of the processor.
    """

    def replacement(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if dtype is None or not tensor.is_floating_point():
            return tensor
        return weights[name] if name in weights else tensor.to(dtype)

    has_experts = model._can_set_experts_implementation()
    if dtype is None and not has_experts:
        return model
    copied = twin(model, replacement)
    if has_experts:
        copied.set_experts_implementation("eager")
    return copied
