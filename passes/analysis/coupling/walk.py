"""Walk every entry point once and relate the axes of all its tensors."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.rules import find_rule, takes_positions
from prunec.passes.analysis.coupling.site import (
    Axes,
    Rule,
    Site,
    Walk,
    argument,
    new_axes,
    refusal,
)
from prunec.passes.ir import Entry, Program, ProgramError, Role
from prunec.passes.ir.axes import Atom, RefinementError, Refusal, refuse, size
from prunec.passes.ir.shapes import TAKES_ONLY_DTYPE_FROM_SECOND, example_size, is_tensor

aten = torch.ops.aten
# A weight stays one whatever its rows are chosen by: an expert's.
CHOOSES_FROM_FIRST = (aten.index.Tensor, aten.index_select.default)


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
                walk.parametric.add(node)
        elif node.op == "placeholder":
            _start_input(walk, node, next(ports).role)
        elif node.op == "call_function":
            _visit_named(walk, node)
    for port, node in zip(entry.outputs, entry.output_nodes(), strict=True):
        if port.role is not Role.CACHE:
            reason = f"it reaches the output {port.name}, whose size is fixed"
            _refuse_node(walk, node, reason)


def _start_input(walk: Walk, node: Node, role: Role) -> None:
    walk.axes[node] = new_axes(node, node.meta["val"])
    walk.fed.add(node)
    if role is Role.CACHE:
        walk.learned.add(node)
    else:
        _refuse_node(walk, node, f"it is the size of the input {node.name}")


def _visit_named(walk: Walk, node: Node) -> None:
    try:
        _visit(walk, node)
    except ProgramError as error:
        raise ProgramError(f"node {node.name} ({node.target}): {error}") from error


def _visit(walk: Walk, node: Node) -> None:
    if node.target is operator.getitem:
        _take_part(walk, node)
    elif is_tensor(node) or _is_list(node):
        _mark_learned(walk, node)
        rule = find_rule(node.target)
        _refuse_positions(walk, node, rule)
        result = _relate(walk, node, rule)
        if is_tensor(node):
            walk.axes[node] = tuple(result)
        else:
            walk.parts[node] = tuple(result)


def _relate(walk: Walk, node: Node, rule: Rule | None) -> Any:
    if rule is None:
        return _refuse_call(walk, node, f"{node.target} has no rule")
    site = Site(walk, node)
    if rule.keeps_positions and node.all_input_nodes[0] in walk.positions:
        walk.positions[node] = walk.positions[node.all_input_nodes[0]]
    try:
        result = rule.relate(site)
    except (LookupError, TypeError, ValueError, AttributeError, RefinementError) as error:
        reason = f"{node.target} is called in a form that its rule does not know: {error}"
        return _refuse_call(walk, node, reason)
    if not _fits(node, result):
        return _refuse_call(
            walk, node, f"the rule of {node.target} does not tell its result's sizes"
        )
    return result


def _fits(node: Node, result: Any) -> bool:
    """Whether a rule gave an axis of the right size for every dimension of every result."""
    values, axes = ([node.meta["val"]], [result]) if is_tensor(node) else (node.meta["val"], result)
    return len(values) == len(axes) and all(
        [example_size(s) for s in value.shape] == [size(a) for a in own]
        for value, own in zip(values, axes, strict=True)
        if isinstance(value, torch.Tensor)
    )


def _refuse_call(walk: Walk, node: Node, reason: str) -> Any:
    """Refuse all that a call reads, and new axes for what it returns."""
    for operand in node.all_input_nodes:
        _refuse_axes(walk, operand, refusal(node, reason))
    values = [node.meta["val"]] if is_tensor(node) else node.meta["val"]
    parts = [new_axes(node, v) if isinstance(v, torch.Tensor) else () for v in values]
    for part in parts:
        for axis in part:
            refuse(axis, refusal(node, reason))
    return parts[0] if is_tensor(node) else parts


def _mark_learned(walk: Walk, node: Node) -> None:
    """Note whether a parameter stands behind the node, and whether it is still one."""
    first = node.all_input_nodes[:1]
    operands = first if node.target in TAKES_ONLY_DTYPE_FROM_SECOND else node.all_input_nodes
    if any(operand in walk.learned for operand in operands):
        walk.learned.add(node)
    sources = first if node.target in CHOOSES_FROM_FIRST else operands
    if any(operand in walk.fed for operand in sources):
        walk.fed.add(node)
        return
    learned = [operand for operand in sources if operand in walk.learned]
    if learned and all(operand in walk.parametric for operand in learned):
        walk.parametric.add(node)


def _refuse_positions(walk: Walk, node: Node, rule: Rule | None) -> None:
    """Positions along an axis change with a cut: only indexing the same axis may use them."""
    allowed = takes_positions(node.target) or (rule is not None and rule.keeps_positions)
    for operand in node.all_input_nodes:
        if operand in walk.positions and not allowed:
            reason = f"{node.target} uses positions along it as numbers"
            refuse(walk.positions[operand], refusal(node, reason))


def _take_part(walk: Walk, node: Node) -> None:
    source, index = node.args
    assert isinstance(source, Node)
    assert isinstance(index, int)
    if source not in walk.parts:
        return  # of a list of sizes
    walk.axes[node] = walk.parts[source][index]
    for known in (walk.learned, walk.parametric, walk.fed):
        if source in known:
            known.add(node)
    if source in walk.positions:
        walk.positions[node] = walk.positions[source]
    if source.target is aten.topk.default and index == 1:
        walk.positions[node] = walk.axes[argument(source, "self")][argument(source, "dim")]


def _is_list(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in value)


def _refuse_node(walk: Walk, node: Node, reason: str) -> None:
    _refuse_axes(walk, node, refusal(node, reason))


def _refuse_axes(walk: Walk, node: Node, why: Refusal) -> None:
    for axes in (walk.axes.get(node, ()), *walk.parts.get(node, ())):
        for axis in axes:
            refuse(axis, why)
