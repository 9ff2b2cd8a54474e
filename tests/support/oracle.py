"""Law 1 as a function: the cut program against the original with the removed units at zero."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import Coupling, Rule, find_rule
from prunec.passes.ir import Entry, Interpreter, Program, Role, execute, language_feeds
from prunec.passes.ir.axes import Axis, factors, leaves, size
from prunec.passes.ir.run import next_cache
from prunec.passes.ir.selection import Selection, is_cut, kept, outer_elsewhere, unit_of
from prunec.passes.ir.take import dim_of, kept_table, take
from prunec.passes.surgery import cut_program


class MaskedInterpreter(Interpreter):
    """Runs the original and holds removed units at zero in every value that carries them.

    Where an operator needs another value than zero to pass over a unit (minus infinity before
    a softmax), it is given that: the operator's rule names it.
    """

    def __init__(
        self, program: Program, entry: Entry, coupling: Coupling, selection: Selection
    ) -> None:
        super().__init__(program, entry)
        # The interpreter runs a copy of the graph; nodes correspond by name.
        self._axes = {node.name: axes for node, axes in coupling.walk.axes.items()}
        self._parts = {node.name: parts for node, parts in coupling.walk.parts.items()}
        self._selection = selection
        self._dropped = {
            branch.branch.name
            for found in coupling.branches
            for unit, branch in enumerate(found.branches)
            if found.atom in selection and unit not in selection[found.atom]  # type: ignore[operator]
        }

    def run_node(self, n: Node) -> Any:
        rule = find_rule(n.target) if n.op == "call_function" else None
        if rule is not None and rule.neutral:
            value = self._run_with_neutral(n, rule)
        else:
            value = super().run_node(n)
        if n.op == "output":
            return value
        if n.name in self._dropped:
            return torch.zeros_like(value)
        if isinstance(value, (list, tuple)) and n.name in self._parts:
            return [self._mask(v, axes) for v, axes in zip(value, self._parts[n.name], strict=True)]
        return self._mask(value, self._axes.get(n.name, ()))

    def _run_with_neutral(self, n: Node, rule: Rule) -> Any:
        names = [a.name for a in n.target._schema.arguments]  # type: ignore[union-attr]
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        args = list(args)
        for name, neutral in rule.neutral.items():
            place = names.index(name)
            operand = n.args[place]
            args[place] = self._mask(args[place], self._axes[operand.name], neutral)  # type: ignore[union-attr]
        return n.target(*args, **kwargs)  # type: ignore[operator]

    def _mask(self, value: Any, axes: Sequence[Axis], neutral: float = 0.0) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        for dim, axis in enumerate(axes):
            stays = _stays(value, axes, dim, axis, self._selection)
            if stays is not None:
                value = torch.where(stays, value, torch.tensor(neutral, dtype=value.dtype))
        return value


def _stays(
    value: torch.Tensor, axes: Sequence[Axis], dim: int, axis: Axis, selection: Selection
) -> torch.Tensor | None:
    """A mask that broadcasts to the value; None where the dimension is whole.

    A unit that is told apart by an outer axis which the value does not have (a weight that was
    chosen by a router) is masked where the weight was.
    """
    if not is_cut(axis, selection):
        return None
    outer = outer_elsewhere(axis, selection)
    above = None if outer is None else dim_of(axes, outer)
    shape = [1] * value.dim()
    shape[dim] = -1
    if outer is None:
        return _mask_of_length(axis, value.shape[dim], selection).view(shape)
    if above is None:
        return None
    units = unit_of(axes[above], outer)
    units = units[np.arange(value.shape[above]) % len(units)]
    rows = kept_table(axis, outer, selection)[units]
    table = torch.zeros(len(rows), size(axis), dtype=torch.bool)
    table.scatter_(1, torch.from_numpy(rows), True)
    shape[above] = len(rows)
    shape[dim] = size(axis)
    return (table if above < dim else table.T).reshape(shape)


def _mask_of_length(axis: Axis, length: int, selection: Selection) -> torch.Tensor:
    """Which positions stay; a dynamic part (batch x heads) has the size that it has in this run."""
    parts = [axis] if not _is_dynamic(axis) else factors(axis)
    fixed = math.prod(size(p) for p in parts if not _is_dynamic(p))
    dynamic = [place for place, p in enumerate(parts) if _is_dynamic(p)]
    mask = torch.ones(1, dtype=torch.bool)
    for place, part in enumerate(parts):
        if not _is_dynamic(part):
            own = torch.zeros(size(part), dtype=torch.bool)
            own[torch.from_numpy(kept(part, selection))] = True
        else:  # of several neighbours the first stands for all
            own = torch.ones(length // fixed if place == dynamic[0] else 1, dtype=torch.bool)
        mask = (mask[:, None] & own[None, :]).flatten()
    return mask


def _is_dynamic(axis: Axis) -> bool:
    return any(leaf.is_dynamic for leaf in leaves(axis))


def law_error(
    program: Program,
    coupling: Coupling,
    selection: Selection,
    feeds: Mapping[str, torch.Tensor],
) -> float:
    """The largest relative error between the outputs of the cut and the masked program.

    Args:
        program: The original with one entry point, best in float64.
        coupling: Its structures.
        selection: What stays.
        feeds: Inputs of the original by name, caches with earlier tokens among them.
    """
    after = cut_program(program, coupling, selection)
    return masked_error(program, coupling, selection, feeds, after)


def masked_error(
    program: Program,
    coupling: Coupling,
    selection: Selection,
    feeds: Mapping[str, torch.Tensor],
    after: Program,
) -> float:
    """The largest relative error of a program that was cut by this selection; see `law_error`."""
    entry = program.main
    values = MaskedInterpreter(program, entry, coupling, selection).feed(feeds)
    masked = dict(zip((p.name for p in entry.outputs), values, strict=True))
    ports = (*entry.inputs, *entry.outputs)
    nodes = (*entry.input_nodes(), *entry.output_nodes())
    axes = {p.name: coupling.walk.axes[n] for p, n in zip(ports, nodes, strict=True)}
    cut_feeds = {p.name: take(feeds[p.name], axes[p.name], selection) for p in after.main.inputs}
    found = execute(after, cut_feeds)
    return max(
        relative_error(value, take(masked[name], axes[name], selection))
        for name, value in found.items()
    )


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference over the largest expected magnitude."""
    assert found.shape == expected.shape, f"{tuple(found.shape)} for {tuple(expected.shape)}"
    if expected.numel() == 0:
        return 0.0
    scale = float(expected.abs().max()) or 1.0
    return float((found - expected).abs().max()) / scale


def cache_law_error(
    program: Program, tokens: torch.Tensor, mask: torch.Tensor, first: int
) -> float:
    """Law 5: prefill of `first` tokens and single steps against one pass over all tokens.

    Logits of padding are left out: they mean nothing and need not agree.
    """
    entry = program.main
    (logits,) = (p.name for p in entry.ports(Role.LOGITS)[1])
    whole = execute(program, language_feeds(entry, tokens, mask))[logits]
    outputs = execute(program, language_feeds(entry, tokens[:, :first], mask[:, :first]))
    parts = [outputs[logits]]
    for position in range(first, tokens.shape[1]):
        feeds = language_feeds(
            entry,
            tokens[:, position : position + 1],
            mask[:, : position + 1],
            next_cache(entry, outputs),
        )
        outputs = execute(program, feeds)
        parts.append(outputs[logits])
    real = mask.bool()
    return relative_error(torch.cat(parts, dim=1)[real], whole[real])
