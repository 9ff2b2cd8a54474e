"""Which class of transformers a configuration means, and that class with fake weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from prunec.frontend.tracing.errors import ExportError


def model_class(config: Any) -> type[Any]:
    """The class that the configuration names, or the first one made for its kind.

    Raises:
        ExportError: transformers does not have the class that it names, or none for its kind.
    """
    import transformers

    named = config.architectures or ()
    for name in named:
        if hasattr(transformers, name):
            return getattr(transformers, name)
    if named:  # another class may leave out a part of the model
        raise ExportError(
            f"the configuration names the class {' or '.join(named)}, which transformers "
            f"{transformers.__version__} does not have. Set architectures to the class of "
            "transformers whose weights these are, or install a transformers that has it"
        )
    kind = type(config)
    for mapping in _mappings(config):
        if kind in mapping:
            found = mapping[kind]
            return found[0] if isinstance(found, (tuple, list)) else found
    # Parts of larger models, such as CLIPTextConfig, are in no mapping.
    part = getattr(transformers, f"{kind.__name__.removesuffix('Config')}Model", None)
    if part is not None and part.config_class is kind:
        return part
    raise ExportError(
        f"{kind.__name__} has no model in transformers {transformers.__version__}. Another version "
        "of transformers may have it",
        in_python="Or build the module and trace it with trace_module",
    )


def _mappings(config: Any) -> Iterator[Any]:
    """The tables of transformers from configuration to model class, likeliest first."""
    from transformers.models.auto import modeling_auto as auto

    if config.is_encoder_decoder:
        yield auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        yield auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING
    # Encoders can be told to be decoders, and are in the table of those as well.
    is_decoder = getattr(config, "is_decoder", False)
    if is_decoder or type(config) not in auto.MODEL_FOR_MASKED_LM_MAPPING:
        yield auto.MODEL_FOR_CAUSAL_LM_MAPPING
    yield auto.MODEL_MAPPING
    yield from (getattr(auto, name) for name in sorted(vars(auto)) if _is_mapping(name))


def _is_mapping(name: str) -> bool:
    return name.startswith("MODEL_FOR_") and name.endswith("_MAPPING")


def fake_model(kind: type[Any], config: Any, dtype: torch.dtype, attention: str | None) -> Any:
    """The model in evaluation mode; its weights are fake tensors.

    Args:
        kind: A class of transformers.
        config: Its configuration; not changed.
        dtype: What it computes in.
        attention: An attention implementation of transformers; its own choice where not given.
    """
    from accelerate import init_empty_weights

    config = copy.deepcopy(config)
    config.return_dict = True
    options = {"attn_implementation": attention} if attention else {}
    with init_empty_weights(include_buffers=False):
        # The default for experts sorts tokens by expert, into groups whose sizes depend on data.
        model = kind._from_config(
            config, dtype=dtype, experts_implementation="batched_mm", **options
        )
    model.tie_weights()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fakes: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in fakes:
                with mode:
                    fake = torch.empty(parameter.shape, dtype=parameter.dtype)
                fakes[id(parameter)] = torch.nn.Parameter(fake, requires_grad=False)
            module._parameters[name] = fakes[id(parameter)]
    return model.eval()
