"""Move a program to a device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from prunec.passes.ir import Entry, Program
from prunec.passes.ir.shapes import copy_graph


def place(program: Program, device: torch.device | str) -> Program:
    """The same program on a device: its weights, and the tensors that its graph makes.

    A trace names the device that it was made on wherever it makes a tensor, such as the
    positions that a mask is built from. The result is for running, not for more passes.
    """
    target = torch.device(device)
    weights = {name: weight.to(target) for name, weight in program.weights.items()}
    entries = {name: _placed(entry, target) for name, entry in program.entries.items()}
    return replace(program, entries=entries, weights=weights)


def _placed(entry: Entry, target: torch.device) -> Entry:
    def convert(value: Any) -> Any:
        return target if isinstance(value, torch.device) else value

    graph, _ = copy_graph(entry.graph)
    for node in graph.nodes:
        if node.op == "call_function":
            node.args = torch.fx.node.map_aggregate(node.args, convert)
            node.kwargs = torch.fx.node.map_aggregate(node.kwargs, convert)
    return replace(entry, graph=graph)
