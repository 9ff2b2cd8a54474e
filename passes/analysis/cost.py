"""What a program weighs: parameters, bytes, cache, arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch.fx import Node

from prunec.passes.ir import Entry, Program, Role

aten = torch.ops.aten
_CONTRACTIONS = (aten.linear.default, aten.matmul.default, aten.bmm.default, aten.addmm.default)


@dataclass(frozen=True)
class Cost:
    """Sizes of a program.

    Attributes:
        parameters: Of the whole model, tied ones once.
        block_parameters: Without embeddings, head, and what is applied after the last block.
        weight_bytes: Of all weights as they are stored in memory, buffers too.
        kv_bytes_per_token: What one more token adds to the cache.
        flops_per_token: Two for each weight that a contraction multiplies with; attention's own
            products grow with the context and are left out.
    """

    parameters: int
    block_parameters: int
    weight_bytes: int
    kv_bytes_per_token: int
    flops_per_token: int

    def to_json(self) -> dict[str, int]:
        """The sizes by name."""
        return asdict(self)


def measure(program: Program) -> Cost:
    """Count a program's sizes. Looks at shapes only."""
    parameters = {name: weight.numel() for name, weight in program.parameters().items()}
    block = block_weights(program)
    return Cost(
        parameters=sum(parameters.values()),
        block_parameters=sum(count for name, count in parameters.items() if name in block),
        weight_bytes=sum(w.numel() * w.element_size() for w in program.weights.values()),
        kv_bytes_per_token=kv_bytes_per_token(program),
        flops_per_token=_flops_per_token(program),
    )


def kv_bytes_per_token(program: Program) -> int:
    """Bytes that one more token of one sequence adds to the cache."""
    entry = next(iter(program.entries.values()))
    total = 0
    for port in entry.ports(Role.CACHE)[0]:
        numbers = 1
        for size in port.shape:
            numbers *= size if isinstance(size, int) else 1
        total += numbers * port.dtype.itemsize
    return total


def block_weights(program: Program) -> frozenset[str]:
    """Parameters of the blocks: those that reach a contraction other than the head's.

    The head is the last contraction before the logits. Tables that are looked up by the input
    (token and position embeddings) do not count, wherever else they are used.
    """
    found: set[str] = set()
    tables: set[str] = set()
    for entry in program.entries.values():
        reaching = _nodes_before_inner_contractions(entry)
        for node, name in entry.weight_nodes():
            if name not in program.buffers and node in reaching:
                found.add(name)
            if any(user.target is aten.embedding.default for user in node.users):
                tables.add(name)
    return frozenset(found - tables)


def _nodes_before_inner_contractions(entry: Entry) -> set[Node]:
    heads = {
        _last_contraction(node)
        for port, node in zip(entry.outputs, entry.output_nodes(), strict=True)
        if port.role is Role.LOGITS
    }
    reaching: set[Node] = set()
    for node in reversed(list(entry.graph.nodes)):
        is_inner = node.target in _CONTRACTIONS and node not in heads
        if is_inner or node in reaching:
            reaching.add(node)
            reaching.update(node.all_input_nodes)
    return reaching


def _last_contraction(node: Node) -> Node | None:
    """The contraction that makes this value, through elementwise steps of one operand."""
    while node.target not in _CONTRACTIONS:
        if not node.all_input_nodes:
            return None
        node = node.all_input_nodes[0]
    return node


def _flops_per_token(program: Program) -> int:
    total = 0
    entry = next(iter(program.entries.values()))
    weights: Mapping[str, str] = entry.reads
    for node in entry.graph.nodes:
        if node.target in _CONTRACTIONS:
            for operand in node.all_input_nodes[1:2]:
                if operand.name in weights:
                    total += 2 * program.weights[weights[operand.name]].numel()
    return total
