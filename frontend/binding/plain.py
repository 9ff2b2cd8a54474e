"""Refuse a loaded model whose tensors or calls are more than its graph can show."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from prunec.frontend.binding.twin import identity, tensors_of
from prunec.frontend.tracing.errors import ExportError
from prunec.passes.ir import Program

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_LIBRARIES = ("torch", "transformers")
_UNPARAMETRISE = "parametrize.remove_parametrizations(module, name, leave_parametrized=True)"


def require_plain(model: Any, described: Any) -> None:
    """Check that the model's weights are numbers and that nothing is hung into its calls.

    Args:
        model: A loaded model of transformers.
        described: The model that its configuration describes, with fake weights.

    Raises:
        ExportError: it holds packed, 8-bit, float8 or offloaded weights, layers of a quantiser,
            parametrised layers, hooks, or replaced methods; says what to do.
    """
    modules = dict(described.named_modules())
    for name, parameter in model.named_parameters():
        _require_numbers(name, parameter)
    for name, tensor in tensors_of(model):
        if tensor.device.type == "meta":
            raise ExportError(
                f"{name} is not in memory: it was offloaded or never loaded. Load the whole model "
                'with device_map="cpu"'
            )
    _require_dequantised(model, modules)
    for name, module in model.named_modules():
        _require_own_weights(name, module, modules.get(name))
        _require_own_calls(name, module)


def require_known(program: Program, model: Any, described: Mapping[str, torch.Tensor]) -> None:
    """Check that the program reads every tensor that the configuration does not know of.

    Args:
        program: The trace of the model itself.
        model: A loaded model of transformers.
        described: By name, the tensors of the model that its configuration describes.

    Raises:
        ExportError: some are read by nothing: scales of packed weights, adapters that are switched
            off or merged already.
    """
    tensors = dict(tensors_of(model))
    read = {identity(tensors[name]) for name in program.weights if name in tensors}
    stray = [n for n, t in tensors.items() if n not in described and identity(t) not in read]
    if stray:
        raise ExportError(
            f"{type(model).__name__} holds {stray[:3]} ({len(stray)} in all), which are not in its "
            "configuration and which nothing reads when it runs. If they belong to quantised "
            "weights: dequantise the model; to an adapter: merge it (merge_and_unload()) or switch "
            "it on; else take them out. Then save it with save_pretrained, and give that"
        )


def _require_numbers(name: str, parameter: torch.nn.Parameter) -> None:
    kind = type(parameter.data) if type(parameter) is torch.nn.Parameter else type(parameter)
    if parameter.dtype not in _FLOATS:
        raise ExportError(
            f"{name} is {_short(parameter.dtype)} {list(parameter.shape)}: a quantised or packed "
            f"weight, without the scales that make numbers of it. {_DEQUANTISE}"
        )
    if kind not in (torch.Tensor, torch.nn.Parameter):
        raise ExportError(f"{name} is kept as {kind.__name__}, no plain tensor. {_DEQUANTISE}")


def _require_dequantised(model: Any, modules: dict[str, Any]) -> None:
    """Layers that a quantiser put in the place of the configuration's own."""
    if getattr(model.config, "quantization_config", None) is None:
        return
    others = [
        (name, type(module).__name__)
        for name, module in model.named_modules()
        if name in modules and type(module) is not type(modules[name])
    ]
    if others:
        name, kind = others[0]
        raise ExportError(
            f"{name} is a {kind}, and {len(others) - 1} more layers are of a quantiser's own "
            f"kinds. {_DEQUANTISE}"
        )


def _require_own_weights(name: str, module: torch.nn.Module, described: Any) -> None:
    computed = _computed(module)
    if not computed or (described is not None and _computed(described)):
        return
    raise ExportError(
        f"{name} computes {list(computed)} from other tensors at every call (a parametrisation): "
        "merge it, save the model with save_pretrained, and give that",
        in_python=f"torch.nn.utils.{next(iter(computed.values()))} merges it",
    )


def _computed(module: torch.nn.Module) -> dict[str, str]:
    """Weights that a module computes from others, and what of `torch.nn.utils` merges each."""
    found = dict.fromkeys(getattr(module, "parametrizations", ()), _UNPARAMETRISE)
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod):
            found[hook._tensor_name] = "prune.remove(module, name)"
        elif isinstance(hook, (WeightNorm, SpectralNorm)):
            kind = "weight" if isinstance(hook, WeightNorm) else "spectral"
            found[hook.name] = f"remove_{kind}_norm(module, name)"
    return found


def _require_own_calls(name: str, module: torch.nn.Module) -> None:
    where = name or type(module).__name__
    hooks = [*_foreign(module._forward_hooks), *_foreign(module._forward_pre_hooks)]
    if hooks:
        raise ExportError(
            f"{where} has a hook ({hooks[0]}) that changes or watches its calls. Remove it (the "
            "handle that registered it has remove()), or make what it does a module of the model"
        )
    forward = module.__dict__.get("forward")
    is_method = isinstance(forward, types.MethodType) and forward.__self__ is module
    if forward is not None and not is_method:
        raise ExportError(
            f"the forward of {where} was replaced by {_named(forward)}, as offloading "
            'does. Load the model with device_map="cpu", or make the change a module of the model'
        )


def _foreign(hooks: dict[int, Any]) -> Iterator[str]:
    """Hooks that are neither torch's nor transformers' own."""
    for hook in hooks.values():
        module = str(getattr(hook, "__module__", type(hook).__module__))
        if module.partition(".")[0] not in _LIBRARIES:
            yield _named(hook)


def _named(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


_DEQUANTISE = (
    "Dequantise the model (where its quantiser can: model.dequantize()), save it with "
    "save_pretrained, and give that"
)
