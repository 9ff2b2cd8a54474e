"""Change the precision that a program computes in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from prunec.passes.ir.program import Entry, Port, Program
from prunec.passes.ir.ranges import (
    clamp_numbers,
    clamp_values,
    constants_computed_in,
    restore_numbers,
)
from prunec.passes.ir.rounding import round_constants
from prunec.passes.ir.shapes import copy_graph, propagate

_REDUCED = (torch.bfloat16, torch.float16)


def model_dtype(program: Program) -> torch.dtype:
    """The element type that most parameters have."""
    dtypes = [w.dtype for w in program.parameters().values()]
    return max(set(dtypes), key=dtypes.count)


def cast(program: Program, dtype: torch.dtype) -> Program:
    """The same program computing in `dtype`: parameters, cache and every cast to either.

    Casts to the model's own precision follow a tensor (``aten.to.other``), so they need no
    change; casts to float32 are deliberate (norms, rotary tables) and stay at float32, or at
    `dtype` where that is wider. Widening is exact. Buffers, and what is made of them or of sizes
    alone, are computed in float32 and rounded where they meet values in a narrower type.
    Finite numbers that a narrower type cannot hold, such as those of masks, become the largest
    that it can.
    """
    before = model_dtype(program)
    if before == dtype:
        return program
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    # A float64 program holds its deliberate up-casts at float64: they come back as float32.
    literals = {torch.float32: wide, torch.float64: wide}
    if before in _REDUCED:
        literals[before] = dtype
    weights = {
        name: _cast_weight(weight, name in program.buffers, before, dtype, wide)
        for name, weight in program.weights.items()
    }
    entries = {name: _cast_entry(e, before, dtype, literals) for name, e in program.entries.items()}
    for entry in entries.values():
        if dtype in _REDUCED and before not in _REDUCED:
            round_constants(entry, program.buffers, dtype)
        clamped = clamp_numbers(entry.graph, dtype)
        propagate(entry, weights)
        if restore_numbers(clamped, dtype):
            propagate(entry, weights)
        for name in constants_computed_in(entry, program.buffers, dtype):
            weights[name] = clamp_values(weights[name], dtype)
    return replace(program, entries=entries, weights=weights)


def _cast_weight(
    weight: torch.Tensor,
    is_buffer: bool,
    before: torch.dtype,
    dtype: torch.dtype,
    wide: torch.dtype,
) -> torch.Tensor:
    if not weight.dtype.is_floating_point:
        return weight
    if is_buffer and weight.dtype in (torch.float32, torch.float64):
        return weight.to(wide)
    if is_buffer and weight.dtype == before:
        return clamp_values(weight, dtype).to(dtype)
    return weight.to(dtype) if weight.dtype == before else weight.to(wide)


def _cast_entry(
    entry: Entry,
    before: torch.dtype,
    dtype: torch.dtype,
    literals: dict[torch.dtype, torch.dtype],
) -> Entry:
    def convert(value: Any) -> Any:
        return literals.get(value, value) if isinstance(value, torch.dtype) else value

    graph, _ = copy_graph(entry.graph)
    for node in graph.nodes:
        if node.op == "call_function":
            node.args = torch.fx.node.map_aggregate(node.args, convert)
            node.kwargs = torch.fx.node.map_aggregate(node.kwargs, convert)

    def ports(given: tuple[Port, ...]) -> tuple[Port, ...]:
        return tuple(replace(p, dtype=dtype) if p.dtype == before else p for p in given)

    return replace(entry, graph=graph, inputs=ports(entry.inputs), outputs=ports(entry.outputs))
