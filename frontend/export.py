"""Trace a language model of transformers with torch.export into a program."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch._dynamo.config
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, Node

from prunec.passes.ir import Entry, Port, Program, Role, cast, propagate

# Everything is traced in a reduced precision, whatever the checkpoint has: only then does the
# graph tell a deliberate up-cast to float32 from a cast to the model's own precision.
_TRACED = torch.bfloat16
_SIZES = {"batch_size": 3, "sequence_length": 5, "past_sequence_length": 7}


class ExportError(Exception):
    """The model cannot be traced."""


class _CachedStep(torch.nn.Module):
    """One step of a decoder: tokens and the cache in, logits and the grown cache out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        result = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=_filled_cache(past),
            use_cache=True,
        )
        layers = result.past_key_values.layers
        return (result.logits, *(t for layer in layers for t in (layer.keys, layer.values)))


def _filled_cache(past: Sequence[torch.Tensor]) -> Any:
    """A cache that holds these keys and values as they are.

    `update` on a new cache would concatenate each with an empty tensor, and the trace keep that.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache = DynamicCache()
    for keys, values in zip(past[::2], past[1::2], strict=True):
        layer = DynamicLayer()
        layer.keys, layer.values = keys, values
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        cache.layers.append(layer)
    return cache


def trace_config(config: Any) -> Program:
    """Trace the model of a configuration without any weight; its weights are fake tensors.

    Raises:
        ExportError: transformers knows no causal language model for it, or the trace fails.
    """
    model = _fake_model(config)
    cache_shapes = _cache_shapes(model)
    tensors = _example_inputs(cache_shapes)
    labels = [["batch_size", "sequence_length"], ["batch_size", "total_sequence_length"]]
    labels += [["batch_size", "sequence_length"]]
    dynamic = torch.export.Dim.DYNAMIC
    both = {0: dynamic, 1: dynamic}
    try:
        with (
            torch.no_grad(),
            warnings.catch_warnings(),
            # With dynamic sizes, the cache's bookkeeping costs more than the calls it saves.
            torch._dynamo.config.patch(fake_tensor_cache_enabled=False),
        ):
            warnings.simplefilter("ignore")  # deprecations inside torch and transformers
            exported = torch.export.export(
                _CachedStep(model),
                (*tensors[:3], tensors[3:]),
                dynamic_shapes=(both, both, both, [{0: dynamic, 2: dynamic}] * len(cache_shapes)),
                strict=False,
            )
    except Exception as error:  # the tracer raises whatever the model's code raises
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ExportError(
            f"{type(model).__name__} cannot be traced by torch.export: {reason}"
        ) from error
    return _to_program(exported, config, cache_shapes)


def trace_model(model: Any, dtype: torch.dtype = torch.float32) -> Program:
    """Trace a loaded model and bind its weights.

    Args:
        model: A causal language model of transformers.
        dtype: What the program computes in.
    """
    return bind_weights(trace_config(model.config), model, dtype)


def bind_weights(program: Program, model: torch.nn.Module, dtype: torch.dtype) -> Program:
    """The same program with the model's tensors, computing in `dtype`."""
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    fake = cast(program, dtype)
    weights = {
        name: tensors[name].detach().to(weight.dtype) if name in tensors else program.weights[name]
        for name, weight in fake.weights.items()
    }
    return fake.with_weights(weights)


def _fake_model(config: Any) -> Any:
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    try:
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(config, dtype=_TRACED).eval()
    except ValueError as error:
        raise ExportError(
            f"{type(config).__name__} is no causal language model that transformers knows: "
            f"{str(error).splitlines()[0]}"
        ) from error
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
    return model


def _cache_shapes(model: Any) -> list[tuple[int, int]]:
    """Heads and width of each key and value, in layer order, as the model itself makes them."""
    from transformers import DynamicCache

    tokens = torch.zeros(1, 2, dtype=torch.int64)
    mode = next(model.parameters()).fake_mode
    with mode, torch.no_grad():
        result = model(
            input_ids=mode.from_tensor(tokens), past_key_values=DynamicCache(), use_cache=True
        )
    tensors = [t for layer in result.past_key_values.layers for t in (layer.keys, layer.values)]
    return [(int(t.shape[1]), int(t.shape[3])) for t in tensors]


def _example_inputs(cache_shapes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
    batch, new, past = _SIZES.values()
    tokens = torch.zeros(batch, new, dtype=torch.int64)
    mask = torch.ones(batch, past + new, dtype=torch.int64)
    positions = torch.arange(past, past + new).repeat(batch, 1)
    cache = [torch.zeros(batch, h, past, d, dtype=_TRACED) for h, d in cache_shapes]
    return [tokens, mask, positions, *cache]


def _ports(
    cache_shapes: Sequence[tuple[int, int]], vocabulary: int
) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    step = ("batch_size", "sequence_length")
    whole = ("batch_size", "total_sequence_length")
    inputs = [
        Port("input_ids", Role.TOKENS, step, torch.int64),
        Port("attention_mask", Role.MASK, whole, torch.int64),
        Port("position_ids", Role.POSITIONS, step, torch.int64),
    ]
    outputs = [Port("logits", Role.LOGITS, (*step, vocabulary), _TRACED)]
    for index, (heads, width) in enumerate(cache_shapes):
        layer, part = index // 2, ("key", "value")[index % 2]
        for ports, prefix, length in (
            (inputs, "past_key_values", "past_sequence_length"),
            (outputs, "present", "total_sequence_length"),
        ):
            shape = ("batch_size", heads, length, width)
            ports.append(Port(f"{prefix}.{layer}.{part}", Role.CACHE, shape, _TRACED))
    return tuple(inputs), tuple(outputs)


def _to_program(exported: Any, config: Any, cache_shapes: Sequence[tuple[int, int]]) -> Program:
    signature = exported.graph_signature
    reads: dict[str, str] = {}
    for table in (signature.inputs_to_parameters, signature.inputs_to_buffers):
        reads |= {node: name.removeprefix("model.") for node, name in table.items()}
    reads |= dict(signature.inputs_to_lifted_tensor_constants)
    # Parameters first, then buffers: the order of the graph's own placeholders.
    # One that nothing reads is the second name of a tied weight.
    unread = {n.name for n in exported.graph.nodes if n.name in reads and not n.users}
    reads = {n.name: reads[n.name] for n in exported.graph.nodes if n.name in reads.keys() - unread}
    buffers = {n.removeprefix("model.") for n in signature.inputs_to_buffers.values()}
    buffers |= set(signature.inputs_to_lifted_tensor_constants.values())
    tensors = {**dict(exported.state_dict), **dict(exported.constants)}
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    inputs, outputs = _ports(cache_shapes, config.get_text_config().vocab_size)
    entry = Entry(_take_graph(exported.graph, unread), reads, inputs, outputs)
    program = Program(
        entries={"main": entry},
        weights={name: weights[name] for name in dict.fromkeys(reads.values())},
        buffers=frozenset(buffers & set(reads.values())),
        origin={"model_type": config.model_type, "architecture": type(config).__name__},
    )
    propagate(entry, program.weights)
    _follow_model_dtype(entry)
    propagate(entry, program.weights)
    return program


def _take_graph(exported: Graph, unread: set[str]) -> Graph:
    """Copy the graph; of all that export notes about a node keep the line it came from.

    Left out are weights that nothing reads and the tracer's assertions about dtypes, which are
    true of the traced precision only.
    """
    graph = Graph()
    mapping: dict[Node, Node] = {}
    for node in exported.nodes:
        if node.name in unread or node.target is torch.ops.aten._assert_tensor_metadata.default:
            continue
        if node.op == "output":
            graph.output(tuple(mapping[n] for n in _flat(node.args[0])))
            continue
        copied = graph.node_copy(node, lambda n: mapping[n])
        copied.meta = {}
        if node.stack_trace:
            copied.meta["source"] = _source_line(node.stack_trace)
        mapping[node] = copied
    return graph


def _flat(outputs: Any) -> list[Node]:
    if isinstance(outputs, Node):
        return [outputs]
    return [node for item in outputs for node in _flat(item)]


def _source_line(stack_trace: str) -> str:
    """``file.py:12 in forward: code`` of the innermost frame of a Python stack trace."""
    lines = [line.strip() for line in stack_trace.strip().splitlines()]
    frames = [i for i, line in enumerate(lines) if line.startswith('File "')]
    if not frames:
        return lines[-1]
    file, line, function = lines[frames[-1]].split(", ")
    name = file.removeprefix('File "').rstrip('"').rsplit("/", 1)[-1]
    code = lines[frames[-1] + 1] if frames[-1] + 1 < len(lines) else ""
    return f"{name}:{line.removeprefix('line ')} {function}: {code}"


_CASTS = {
    torch.ops.aten.to.dtype: 1,
    torch.ops.aten.to.device: 2,
    torch.ops.aten._to_copy.default: None,
}


def _follow_model_dtype(entry: Entry) -> None:
    """Turn casts to the traced precision into casts to the type of a parameter."""
    reference = next(node for node, _ in entry.weight_nodes() if node.meta["val"].dtype == _TRACED)
    for node in list(entry.graph.nodes):
        if node.target not in _CASTS or node.meta["val"].dtype != _TRACED:
            continue
        source = node.args[0]
        if source.meta["val"].dtype == _TRACED:
            node.replace_all_uses_with(source)
        else:
            with entry.graph.inserting_before(node):
                follow = entry.graph.call_function(torch.ops.aten.to.other, (source, reference))
            follow.meta.update(node.meta)
            node.replace_all_uses_with(follow)
        entry.graph.erase_node(node)


def describe(config: Any) -> Mapping[str, Any]:
    """The facts about a model that its graph does not carry and its packages need."""
    text = config.get_text_config()
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "max_position_embeddings")
    return {name: getattr(text, name, None) for name in names} | {"vocab_size": text.vocab_size}
