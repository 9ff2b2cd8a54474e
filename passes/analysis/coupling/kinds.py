"""Name each axis by what the graph does with it, never by what a module is called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from prunec.passes.analysis.coupling.site import Axes, Use, Walk
from prunec.passes.ir.axes import Atom, leaves


def name_kinds(walk: Walk, weight_axes: Mapping[str, Axes]) -> dict[Atom, str]:
    """The kind of every axis that something sums over or routes by; others have none."""
    uses: dict[Use, set[Atom]] = {use: set() for use in Use}
    first_consumed: dict[Atom, int] = {}
    last_produced: dict[Atom, int] = {}
    users = dict.fromkeys(node for _, _, node in walk.uses)  # in the order of the graph
    order = {node: place for place, node in enumerate(users)}
    for use, axis, node in walk.uses:
        for atom in leaves(axis):
            uses[use].add(atom)
            if use is Use.CONSUMED:
                first_consumed.setdefault(atom, order[node])
            if use is Use.PRODUCED:
                last_produced[atom] = order[node]
    grouped = _beside_repeats(walk, uses[Use.REPEATED])
    feeding = _feeding(walk)
    of_experts = _beside_experts(weight_axes, uses[Use.ROUTED])
    kinds: dict[Atom, str] = {}
    for atom in uses[Use.CONSUMED] | uses[Use.KEY_WIDTH] | uses[Use.ROUTED]:
        if atom in uses[Use.ROUTED]:
            kinds[atom] = "expert"
        elif atom in uses[Use.HEADS] & uses[Use.REPEATED] and atom in grouped:
            kinds[atom] = "query-head-in-group"
        elif atom in uses[Use.HEADS]:
            kinds[atom] = "kv-group" if atom in grouped else "head"
        elif atom in uses[Use.KEY_WIDTH]:
            kinds[atom] = "qk-dim"
        elif atom in uses[Use.VALUE_WIDTH]:
            kinds[atom] = "vo-dim"
        elif last_produced.get(atom, -1) > first_consumed.get(atom, 0):
            kinds[atom] = "residual"
        elif atom in of_experts:
            kinds[atom] = "expert-channel"
        elif atom in uses[Use.CONVOLVED]:
            kinds[atom] = "conv-channel"
        elif feeding[atom] & uses[Use.VALUE_WIDTH]:
            kinds[atom] = "kv-latent"
        elif feeding[atom] & uses[Use.KEY_WIDTH]:
            kinds[atom] = "query-latent"
        else:
            kinds[atom] = "ffn-channel"
    return kinds


def repeated_axes(walk: Walk) -> set[Atom]:
    """Axes that count what reads one key and value: query heads of a group."""
    return {atom for use, axis, _ in walk.uses if use is Use.REPEATED for atom in leaves(axis)}


def _beside_repeats(walk: Walk, repeats: set[Atom]) -> set[Atom]:
    """Atoms of head axes that are made of groups and of heads in each group."""
    return {
        atom
        for use, axis, _ in walk.uses
        if use is Use.HEADS
        for found in [[leaf for leaf in leaves(axis) if leaf.refusal is None]]
        if len(found) > 1 and any(leaf in repeats for leaf in found)
        for atom in found
    }


def _feeding(walk: Walk) -> dict[Atom, set[Atom]]:
    """For each consumed axis the atoms that its contractions produce."""
    produced = {node: axis for use, axis, node in walk.uses if use is Use.PRODUCED}
    result: dict[Atom, set[Atom]] = defaultdict(set)
    for use, axis, node in walk.uses:
        if use is Use.CONSUMED and node in produced:
            for atom in leaves(axis):
                result[atom].update(leaves(produced[node]))
    return result


def _beside_experts(weight_axes: Mapping[str, Axes], experts: set[Atom]) -> set[Atom]:
    """Atoms of weights that hold one matrix for each expert."""
    return {
        atom
        for axes in weight_axes.values()
        if len(axes) > 2 and any(leaf in experts for leaf in leaves(axes[0]))
        for axis in axes[1:]
        for atom in leaves(axis)
    }
