"""Ports: names and roles of inputs and outputs, and which of their sizes vary together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch.fx import Node

from prunec.passes.ir import Entry, Port, Role

_ROLES = {
    "input_ids": Role.TOKENS,
    "decoder_input_ids": Role.TOKENS,
    "attention_mask": Role.MASK,
    "position_ids": Role.POSITIONS,
    "token_type_ids": Role.SEGMENTS,
}
"""Names of inputs that mean one thing wherever they occur."""


def role_of(name: str) -> Role:
    """What an input or output of this name means."""
    if name.startswith(("past_key_values.", "present.")):
        return Role.CACHE
    # Of tokens, of classes, or of the places where an answer starts and ends.
    is_logits = name == "logits" or name.endswith("_logits")
    return Role.LOGITS if is_logits else _ROLES.get(name, Role.OTHER)


def default_ports(nodes: Sequence[Node]) -> list[Port]:
    """Ports named after the placeholders; every size that varies by itself has its own label."""
    ports = []
    labels: dict[str, str] = {}
    for node in nodes:
        value, shape = node.meta["val"], []
        for dim, size in enumerate(value.shape):
            is_batch = dim == 0 and "batch_size" not in labels.values()
            label = "batch_size" if is_batch else f"{node.name}_size_{dim}"
            fixed = isinstance(size, int)
            shape.append(size if fixed else labels.setdefault(str(size), label))
        ports.append(Port(node.name, role_of(node.name), tuple(shape), value.dtype))
    return ports


def settle(nodes: Sequence[Node], ports: Sequence[Port]) -> tuple[Port, ...]:
    """The ports with one label for sizes that the trace found equal, and none for fixed ones."""
    labels: dict[str, str] = {}
    settled = []
    for node, port in zip(nodes, ports, strict=True):
        shape: list[int | str] = []
        for size, label in zip(node.meta["val"].shape, port.shape, strict=True):
            if isinstance(size, int) or isinstance(label, int):
                shape.append(size if isinstance(size, int) else label)
                continue
            shape.append(labels.setdefault(str(size), label))
        settled.append(replace(port, shape=tuple(shape)))
    return tuple(settled)


def output_ports(entry: Entry, names: Sequence[str]) -> tuple[Port, ...]:
    """Ports of the outputs, their sizes under the labels of the inputs'."""
    labels = _labels(entry)
    ports = []
    for name, node in zip(names, entry.output_nodes(), strict=True):
        value = node.meta["val"]
        shape = tuple(
            size if isinstance(size, int) else labels.setdefault(str(size), f"{name}_size_{dim}")
            for dim, size in enumerate(value.shape)
        )
        ports.append(Port(name, role_of(name), shape, value.dtype))
    return tuple(ports)


def _labels(entry: Entry) -> dict[str, str]:
    """The label of each size that an input has, by the size as text."""
    sizes = {
        label: size
        for port, node in zip(entry.inputs, entry.input_nodes(), strict=True)
        for size, label in zip(node.meta["val"].shape, port.shape, strict=True)
        if isinstance(label, str)
    }
    labels = {str(size): label for label, size in sizes.items()}
    if "past_sequence_length" in sizes:
        total = sizes["past_sequence_length"] + sizes["sequence_length"]
        labels[str(total)] = "total_sequence_length"
    return labels
