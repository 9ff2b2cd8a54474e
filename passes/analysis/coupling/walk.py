"""Walk every entry point once and relate the axes of all its tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.rules import find_rule
from prunec.passes.analysis.coupling.rules.contraction import refuse_all
from prunec.passes.analysis.coupling.site import Axes, Site, Walk
from prunec.passes.ir import Entry, Program, Role
from prunec.passes.ir.axes import Atom, Refusal, refuse
from prunec.passes.ir.shapes import is_tensor, static_shape

_TAKES_ONLY_DTYPE_FROM_SECOND = (torch.ops.aten.to.other, torch.ops.aten.type_as.default)


def walk_program(program: Program) -> tuple[Walk, Mapping[str, Axes]]:
    """Relate all axes. Linear in the number of nodes.

    Returns:
        The finished walk, and the axes of every weight by name, shared by all its readers.
    """
    walk = Walk()
    weight_axes: dict[str, Axes] = {
        name: tuple(Atom(int(s)) for s in weight.shape) for name, weight in program.weights.items()
    }
    for entry in program.entries.values():
        _walk_entry(walk, entry, program, weight_axes)
    return walk, weight_axes


def _walk_entry(
    walk: Walk, entry: Entry, program: Program, weight_axes: Mapping[str, Axes]
) -> None:
    ports = iter(entry.inputs)
    for node in entry.graph.nodes:
        if node.op == "placeholder" and node.name in entry.reads:
            weight = entry.reads[node.name]
            walk.axes[node] = weight_axes[weight]
            if weight not in program.buffers:
                walk.learned.add(node)
        elif node.op == "placeholder":
            _start_input(walk, node, next(ports).role)
        elif node.op == "call_function":
            _relate(walk, node)
    for port, node in zip(entry.outputs, entry.output_nodes(), strict=True):
        if port.role is not Role.CACHE:
            reason = f"it reaches the output {port.name}, whose size is fixed"
            _refuse_node(walk, node, reason)


def _start_input(walk: Walk, node: Node, role: Role) -> None:
    walk.axes[node] = tuple(None if s is None else Atom(s) for s in static_shape(node))
    if role is Role.CACHE:
        walk.learned.add(node)
    else:
        _refuse_node(walk, node, f"it is the size of the input {node.name}")


def _relate(walk: Walk, node: Node) -> None:
    if not is_tensor(node):
        if isinstance(node.meta.get("val"), (list, tuple)):
            _refuse_operands(walk, node)
        return
    operands = node.all_input_nodes
    if node.target in _TAKES_ONLY_DTYPE_FROM_SECOND:
        operands = [o for o in operands if o is node.args[0]]
    if any(operand in walk.learned for operand in operands):
        walk.learned.add(node)
    site = Site(walk, node)
    rule = find_rule(node.target)
    if rule is None:
        walk.axes[node] = refuse_all(site, f"{node.target} has no rule")
    else:
        walk.axes[node] = tuple(rule.relate(site))


def _refuse_operands(walk: Walk, node: Node) -> None:
    for operand in node.all_input_nodes:
        _refuse_node(walk, operand, f"{node.target} returns several tensors and has no rule")


def _refuse_node(walk: Walk, node: Node, reason: str) -> None:
    for axis in walk.axes.get(node, ()):
        if axis is not None:
            refuse(axis, Refusal(reason, node.name, node.meta.get("source", "")))
