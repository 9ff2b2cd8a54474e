"""What a program weighs: parameters, bytes, cache, arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch.fx import Node

from prunec.passes.analysis.contraction_table import is_product
from prunec.passes.analysis.operations import counted_products, reference_run
from prunec.passes.analysis.remaining import Remaining, whole
from prunec.passes.ir import DECODE, Entry, Port, Program, Role
from prunec.passes.ir.shapes import takes_only_dtype

aten = torch.ops.aten


@dataclass(frozen=True)
class Cost:
    """Sizes of a program.

    Attributes:
        parameters: Of the whole model, tied ones once.
        block_parameters: Without embeddings, head, and what is applied after the last block.
        weight_bytes: Of all weights as they are stored in memory, buffers too.
        kv_bytes_per_token: What one more token adds to the cache.
        flops_per_token: A multiplication and an addition for each two numbers that a matrix
            product or a convolution multiplies, in a run of one token of one sequence (of one
            input where there are no tokens, see `reference_run`), in decode where that is an
            entry point of its own. Attention over a text grows with it and is left out; over the
            patches of an image it counts.
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
    entries = [whole(entry) for entry in program.entries.values()]
    block = block_weights(program, entries)
    return Cost(
        parameters=sum(parameters.values()),
        block_parameters=sum(count for name, count in parameters.items() if name in block),
        weight_bytes=sum(w.numel() * w.element_size() for w in program.weights.values()),
        kv_bytes_per_token=kv_bytes_per_token(program),
        flops_per_token=_flops_per_token(program),
    )


def decode_bytes(program: Program) -> int:
    """Bytes of weights that one decoded token reads, chosen units among them.

    A table that is only looked up counts with one row.
    """
    entry = decoding_entry(program)
    total = sum(_port_numbers(p) * p.dtype.itemsize for p in entry.ports(Role.EXPERTS)[0])
    for node, name in entry.weight_nodes():
        weight = program.weights[name]
        readers = [user for user in node.users if not takes_only_dtype(user, node)]
        is_table = all(user.target is aten.embedding.default for user in readers)
        read = weight[0] if is_table and readers else weight
        total += read.numel() * weight.element_size() if readers else 0
    return total


def decoding_entry(program: Program) -> Entry:
    """The entry point that a single new token runs through."""
    return program.entries.get(DECODE) or next(iter(program.entries.values()))


def _flops_per_token(program: Program) -> int:
    entry = decoding_entry(program)
    run = reference_run(entry)
    return sum(run.operations(product) for product in counted_products(program, whole(entry)))


def kv_bytes_per_token(program: Program) -> int:
    """Bytes that one more token of one sequence adds to the cache."""
    entry = next(iter(program.entries.values()))
    total = 0
    for port in entry.ports(Role.CACHE)[0]:
        total += _port_numbers(port) * port.dtype.itemsize
    return total


def _port_numbers(port: Port) -> int:
    """How many numbers a port has for one sequence and one token."""
    return math.prod(size for size in port.shape if isinstance(size, int))


def block_weights(program: Program, entries: Sequence[Remaining]) -> frozenset[str]:
    """Parameters of the blocks: those that reach a contraction other than the head's.

    The head is the last contraction before the logits. Tables that are looked up by the input
    (token and position embeddings) do not count, wherever else they are used.

    Args:
        program: Says which weights are parameters.
        entries: What is left of each of its entry points.
    """
    found: set[str] = set()
    tables: set[str] = set()
    for left in entries:
        reaching = _nodes_before_inner_contractions(left)
        nodes = set(left.nodes)
        for node, name in left.entry.weight_nodes():
            if name not in program.buffers and node in reaching:
                found.add(name)
            if any(u.target is aten.embedding.default and u in nodes for u in node.users):
                tables.add(name)
    return frozenset(found - tables)


def _nodes_before_inner_contractions(left: Remaining) -> set[Node]:
    outputs = zip(left.entry.outputs, left.entry.output_nodes(), strict=True)
    heads = {
        _last_contraction(left, left.value(node))
        for port, node in outputs
        if port.role is Role.LOGITS
    }
    reaching: set[Node] = set()
    for node in reversed(left.nodes):
        is_inner = is_product(node) and node not in heads
        if is_inner or node in reaching:
            reaching.add(node)
            reaching.update(left.operands(node))
    return reaching


def _last_contraction(left: Remaining, node: Node) -> Node | None:
    """The contraction that makes this value, through elementwise steps of one operand."""
    while not is_product(node):
        operands = left.operands(node)
        if not operands:
            return None
        node = operands[0]
    return node
