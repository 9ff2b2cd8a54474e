"""What a picture of a structure shows: a box for each weight, cache and operator that has it."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.ir import Entry, Program
from prunec.passes.ir.axes import Atom, Axis, Concat, Product, leaves, resolve, size

aten = torch.ops.aten
_TAKES_ONLY_A_TYPE = (aten.to.other, aten.type_as.default)
MOST_BOXES = 60
"""A residual stream passes through every layer; so many are read at a glance."""


class PictureError(Exception):
    """A picture was asked for of something that is not there."""


class Role(StrEnum):
    """What a box stands for."""

    WEIGHT = "weight"
    CACHE = "cache"
    CARRIER = "operator"
    READER = "operator that sums over it"


@dataclass(frozen=True)
class Box:
    """One box.

    Attributes:
        title: The weight, the cache or the operator.
        detail: Its dimensions; those that carry the structure between asterisks.
        role: What it stands for.
        sources: Places of the boxes that it reads.
    """

    title: str
    detail: str
    role: Role
    sources: tuple[int, ...]


def find_structure(coupling: Coupling, name: str) -> Structure:
    """The structure of this name, or the first of this kind.

    Raises:
        PictureError: there is neither; names those that come close.
    """
    found = coupling.find(name) or next(iter(coupling.of_kind(name)), None)
    if found is None:
        kinds = list(dict.fromkeys(s.kind for s in coupling.structures))
        close = _close([*kinds, *(s.name for s in coupling.structures)], name)
        hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise PictureError(
            f"no structure {name!r}. {hint}Kinds here: {', '.join(kinds) or 'none'}; "
            "`prunec explain --json` names every structure"
        )
    return found


def _close(known: Sequence[str], word: str) -> list[str]:
    """Up to three of the known words: those that contain this one, else those most like it."""
    containing = [name for name in known if word in name]
    return containing[:3] or difflib.get_close_matches(word, known, n=3)


def find_boxes(program: Program, coupling: Coupling, structure: Structure) -> tuple[list[Box], int]:
    """The boxes of a structure in graph order, and how many more there are.

    Raises:
        PictureError: residual branches are no dimension that operators could carry.
    """
    if structure.kind == "layer":
        raise PictureError(f"{structure.name} is made of whole branches: its members are in --json")
    boxes: list[Box] = []
    left_out = 0
    for entry in program.entries.values():
        found = _nodes(entry, coupling, structure.atom)
        shown = found[: MOST_BOXES - len(boxes)]
        left_out += len(found) - len(shown)
        places = {node: len(boxes) + i for i, node in enumerate(shown)}
        boxes += [_box(entry, node, coupling, structure.atom, places) for node in shown]
    return boxes, left_out


def _nodes(entry: Entry, coupling: Coupling, atom: Atom) -> list[Node]:
    """Nodes that carry the axis or read one that does; each weight in front of its first reader."""
    carriers = {n for n in entry.graph.nodes if any(_has(a, atom) for a in _axes(coupling, n))}
    found: dict[Node, None] = {}
    for node in entry.graph.nodes:
        if node.op != "call_function" or not _axes(coupling, node):
            continue  # a size
        sources = [source for source in _sources(node) if source in carriers]
        if node in carriers or sources:
            found |= {source: None for source in sources if source.op == "placeholder"}
            found[node] = None
    return list(found)


def _sources(node: Node) -> Sequence[Node]:
    """The nodes whose values a node reads, not only their type."""
    inputs = node.all_input_nodes
    return inputs[:1] if node.target in _TAKES_ONLY_A_TYPE else inputs


def _axes(coupling: Coupling, node: Node) -> Sequence[Axis]:
    """The axes of a node's result, or of all its results."""
    parts = coupling.walk.parts.get(node, ())
    return coupling.walk.axes.get(node, ()) or [axis for part in parts for axis in part]


def _box(
    entry: Entry, node: Node, coupling: Coupling, atom: Atom, places: Mapping[Node, int]
) -> Box:
    axes = _axes(coupling, node)
    sources = tuple(places[s] for s in _sources(node) if s in places)
    labels = _labels(entry)
    detail = ", ".join(_sizes(coupling, node, atom, labels))
    return Box(_title(entry, node), f"[{detail}]", _role(entry, node, axes, atom), sources)


def _sizes(coupling: Coupling, node: Node, atom: Atom, labels: Mapping[str, str]) -> Iterable[str]:
    value = node.meta["val"]
    if not hasattr(value, "shape"):
        return [f"{len(value)} parts"]
    axes = coupling.walk.axes[node]
    return [
        _text(axis, atom) if isinstance(s, int) else labels.get(str(s), "...")
        for s, axis in zip(value.shape, axes, strict=True)
    ]


def _labels(entry: Entry) -> dict[str, str]:
    """The name of each size that varies, by the symbol that stands for it."""
    ports = (*entry.outputs, *entry.inputs)
    nodes = (*entry.output_nodes(), *entry.input_nodes())
    return {
        str(symbol): label.removesuffix("_size").removesuffix("_length").replace("_", " ")
        for port, node in zip(ports, nodes, strict=True)
        for symbol, label in zip(node.meta["val"].shape, port.shape, strict=True)
        if isinstance(label, str)
    }


def _text(axis: Axis, atom: Atom) -> str:
    """An axis as it is made: ``8×*128*`` for a width under heads, ``(q | *k*)`` for segments."""
    axis = resolve(axis)
    if axis is atom:
        return f"*{atom.size}*"
    if isinstance(axis, Atom) or not _has(axis, atom):
        return str(size(axis))
    parts = [_text(part, atom) for part in axis.parts]
    if isinstance(axis, Concat):
        shown = parts if len(parts) <= 4 else [*parts[:3], f"{len(parts) - 3} more"]
        return f"({' | '.join(shown)})"
    assert isinstance(axis, Product)
    return "×".join(parts)


def _has(axis: Axis, atom: Atom) -> bool:
    return any(leaf is atom for leaf in leaves(axis))


def _title(entry: Entry, node: Node) -> str:
    if node.op == "placeholder":
        ports = {n: p.name for n, p in zip(entry.input_nodes(), entry.inputs, strict=True)}
        return entry.reads.get(node.name) or ports[node]
    if node.target is operator.getitem:
        return f"part {node.args[1]}"
    return str(node.target).removeprefix("aten.").removesuffix(".default")


def _role(entry: Entry, node: Node, axes: Sequence[Axis], atom: Atom) -> Role:
    if node.op == "placeholder":
        return Role.WEIGHT if node.name in entry.reads else Role.CACHE
    return Role.CARRIER if any(_has(axis, atom) for axis in axes) else Role.READER
