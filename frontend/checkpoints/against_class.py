"""Compare the tensors of a checkpoint with those that its class wants; no weight is read."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from prunec.frontend.checkpoints.facts import Facts, Stored
from prunec.frontend.checkpoints.findings import Finding, first_line, some
from prunec.frontend.checkpoints.quantisation import PLAIN, UNPACKED, quantisation_method, unpacked
from prunec.frontend.checkpoints.wrapped_names import wrapped_names
from prunec.frontend.tracing.architecture import model_class
from prunec.frontend.tracing.quiet import quietly


@dataclass(frozen=True)
class Comparison:
    """What loading a checkpoint would come to.

    Attributes:
        model: The class's model on the meta device; None where it cannot be built.
        findings: What keeps it from being loaded as it is.
        notes: What is left out of it.
    """

    model: Any
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


def compare_with_class(facts: Facts) -> Comparison:
    """Let transformers load the tensors' shapes into the class that the configuration names."""
    method = quantisation_method(facts.document)
    tensors = unpacked(facts.tensors) if method in UNPACKED else facts.tensors
    kind = model_class(facts.config)
    try:
        model, loading = _load_shapes(kind, facts.config, tensors)
    except Exception as error:  # the class raises whatever odd sizes lead to
        return Comparison(None, (_no_model(kind, facts.config, error),))
    if not tensors or method not in (None, *UNPACKED):
        return Comparison(model, ())
    missing, extra = set(loading["missing_keys"]), set(loading["unexpected_keys"])
    wrapped = wrapped_names(missing, extra)
    if wrapped is not None:
        return Comparison(model, (wrapped,))
    heads = _of_other_heads(kind, facts.config, extra) if extra else set[str]()
    findings = [
        *_missing(kind, missing),
        *_mismatched(kind, loading["mismatched_keys"]),
        *_extra(kind, extra - heads),
        *_packed(model, tensors),
    ]
    return Comparison(model, tuple(findings), tuple(_left_out(kind, heads)))


def _no_model(kind: type[Any], config: Any, error: Exception) -> Finding:
    remedy = "Correct config.json, or obtain the checkpoint again"
    if isinstance(config, kind.config_class):
        return Finding(
            f"no {kind.__name__} can be made of config.json: {first_line(error)}", remedy
        )
    there = f"config.json names the class {kind.__name__} and the model_type {config.model_type!r}"
    return Finding(f"{there}, which is of another class", remedy)


def _load_shapes(kind: type[Any], config: Any, tensors: Mapping[str, Stored]) -> tuple[Any, Any]:
    """The loader of transformers at work on tensors without values."""
    shapes = {name: torch.empty(t.shape, device="meta") for name, t in tensors.items()}
    with quietly():
        return kind.from_pretrained(
            None,
            config=_without_quantisation(config),
            state_dict=shapes,
            device_map={"": "meta"},
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )


def _without_quantisation(config: Any) -> Any:
    plain = copy.deepcopy(config)
    for part in (plain, plain.get_text_config()):
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    return plain


def _missing(kind: type[Any], missing: Collection[str]) -> Iterator[Finding]:
    if missing:
        yield Finding(
            f"the files lack {len(missing)} tensors of {kind.__name__}: {some(missing)}",
            "Obtain the checkpoint again, or correct config.json: architectures, sizes, "
            "tie_word_embeddings",
        )


def _mismatched(kind: type[Any], mismatched: Iterable[tuple[str, Any, Any]]) -> Iterator[Finding]:
    sizes = {name: f"{name} {list(a)} where {list(b)} is wanted" for name, a, b in mismatched}
    if sizes:
        yield Finding(
            f"{len(sizes)} tensors have other sizes than {kind.__name__} of config.json: "
            f"{some(sizes.values())}",
            "Correct the sizes in config.json, or obtain the checkpoint again",
        )


def _extra(kind: type[Any], extra: Collection[str]) -> Iterator[Finding]:
    if extra:
        yield Finding(
            f"the files hold {len(extra)} tensors that {kind.__name__} of config.json does not "
            f"read, and would be computed without them: {some(extra)}",
            "Correct config.json (architectures, number of layers, biases), or save the model "
            "without these tensors if they are not needed",
        )


def _packed(model: Any, tensors: Mapping[str, Stored]) -> Iterator[Finding]:
    """Weights in another type than plain floating point, of which the configuration is silent."""
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    small = ("F8", "F4", "F6", "I8", "U8", "I4", "U4")
    packed = {
        name: f"{name} {tensor.dtype}"
        for name, tensor in tensors.items()
        if tensor.dtype not in PLAIN
        and (named[name].is_floating_point() if name in named else tensor.dtype.startswith(small))
    }
    if packed:
        yield Finding(
            f"{len(packed)} weights are stored in packed or 8-bit types, and config.json has no "
            f"quantization_config that says what they mean: {some(packed.values())}",
            "Give the model in float32, float16 or bfloat16",
        )


def _of_other_heads(kind: type[Any], config: Any, extra: Collection[str]) -> set[str]:
    """The tensors that another class of transformers for the same configuration reads."""
    from transformers.models.auto import modeling_auto as auto

    others: set[type[Any]] = set()
    for name in vars(auto):
        mapping = getattr(auto, name)
        if name.startswith("MODEL_") and name.endswith("_MAPPING") and type(config) in mapping:
            found = mapping[type(config)]
            others |= set(found) if isinstance(found, (tuple, list)) else {found}
    read: set[str] = set()
    for other in others - {kind}:
        with torch.device("meta"), quietly():
            model = other._from_config(_without_quantisation(config))
        read |= set(model.state_dict())
    return set(extra) & read


def _left_out(kind: type[Any], heads: Collection[str]) -> Iterator[str]:
    if heads:
        yield f"{kind.__name__} has no place for a head of another task; left out: {some(heads)}"
