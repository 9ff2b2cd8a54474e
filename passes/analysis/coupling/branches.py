"""Find residual branches: what is computed from a stream and added back to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling.site import Walk
from prunec.passes.ir import Entry, Program, Role
from prunec.passes.ir.axes import Atom, leaves
from prunec.passes.ir.selection import PerUnit, Selection

aten = torch.ops.aten


@dataclass(frozen=True)
class Branch:
    """One branch of a residual stream.

    Attributes:
        add: The node that adds it to the stream.
        stream: The operand that stays when the branch is dropped.
        source: The value of the stream that the branch is computed from: `stream` itself, or an
            earlier one where branches stand beside each other, as in (x + f(x)) + g(x).
        branch: The operand that goes.
        parameters: The parameters that nothing else reads, with their sizes.
        kv_bytes: Cache bytes per token that go with it.
        own: The nodes that go with it: nothing else reads them.
    """

    add: Node
    stream: Node
    source: Node
    branch: Node
    parameters: Mapping[str, int]
    kv_bytes: int
    own: frozenset[Node]


@dataclass(frozen=True)
class Branches:
    """The branches of one residual stream, in order, and an axis that counts them."""

    atom: Atom
    branches: tuple[Branch, ...]


def find_branches(program: Program, walk: Walk) -> tuple[Branches, ...]:
    """The residual branches of every stream. Only programs with one entry point have them."""
    if len(program.entries) != 1:
        return ()
    entry = program.main
    order = {node: place for place, node in enumerate(entry.graph.nodes)}
    by_add: dict[Node, Branch] = {}
    streams: dict[Atom, list[Branch]] = {}
    for node in entry.graph.nodes:
        if node.target is not aten.add.Tensor or node not in walk.learned:
            continue
        if any(leaf in walk.normalised for leaf in leaves(walk.axes[node][-1])):
            continue  # scores of attention, to which each layer adds the same mask or bias
        found = _branch(program, entry, node, order, by_add)
        if found is not None:
            by_add[node] = found
            width = next(leaves(walk.axes[node][_channels(walk, node)]))
            streams.setdefault(width, []).append(found)
    return tuple(Branches(Atom(len(found)), tuple(found)) for found in streams.values())


def dropped_branches(found: Sequence[Branches], selection: Selection) -> list[Branch]:
    """The branches that a selection does not leave, those of each stream in graph order."""
    dropped = []
    for branches in found:
        stays = selection.get(branches.atom)
        if stays is not None and not isinstance(stays, PerUnit):
            gone = set(range(branches.atom.size)) - {int(i) for i in stays}
            dropped += [branches.branches[i] for i in sorted(gone)]
    return dropped


def _channels(walk: Walk, node: Node) -> int:
    """The last dimension that can be named: the width of a stream of tokens or of an image."""
    free = [d for d, a in enumerate(walk.axes[node]) if any(not x.refusal for x in leaves(a))]
    return free[-1] if free else -1


def _branch(
    program: Program,
    entry: Entry,
    add: Node,
    order: Mapping[Node, int],
    by_add: Mapping[Node, Branch],
) -> Branch | None:
    """The branch that a sum closes: one operand computed from the other, with parameters."""
    operands = add.all_input_nodes
    if len(operands) != 2 or any(o.meta["val"].shape != add.meta["val"].shape for o in operands):
        return None
    found = _computed_from(sorted(operands, key=order.__getitem__), order, by_add)
    if found is None:
        return None
    stream, source, branch, inside = found
    if stream is add.args[1] and add.kwargs.get("alpha", 1) != 1:
        return None  # the sum scales the stream
    own = _read_by_nothing_else(inside, branch, add, order)
    parameters = {
        entry.reads[node.name]: program.weights[entry.reads[node.name]].numel()
        for node in sorted(own, key=order.__getitem__)
        if node.name in entry.reads and entry.reads[node.name] not in program.buffers
    }
    if not parameters:
        return None
    return Branch(add, stream, source, branch, parameters, _kv_bytes(entry, own), frozenset(own))


def _computed_from(
    operands: Sequence[Node], order: Mapping[Node, int], by_add: Mapping[Node, Branch]
) -> tuple[Node, Node, Node, set[Node]] | None:
    """Which of two operands, in order, is the stream, where the other begins, and what is between.

    Where neither is computed from the other, one may be a stream to which branches were added
    and the other be computed from what it was before.
    """
    first, second = operands
    inside = _between(second, first, order)
    if inside is not None:
        return first, first, second, inside
    for stream, branch in ((first, second), (second, first)):
        source = stream
        while source in by_add:
            source = by_add[source].stream
            inside = _between(branch, source, order)
            if inside is not None:
                return stream, source, branch, inside
    return None


def _read_by_nothing_else(
    inside: set[Node], branch: Node, add: Node, order: Mapping[Node, int]
) -> set[Node]:
    """What dies with a branch: all that is read inside of it alone, or put out as a cache."""
    own: set[Node] = set()
    for node in sorted(inside, key=order.__getitem__, reverse=True):
        readers = {user for user in node.users if user.op != "output" and not _is_size(user)}
        if readers <= own | ({add} if node is branch else set()):
            own.add(node)
    return own


def _is_size(node: Node) -> bool:
    return node.target is aten.sym_size.int


def _between(branch: Node, stream: Node, order: Mapping[Node, int]) -> set[Node] | None:
    """Everything the branch is computed from, up to the stream; None if not from the stream.

    What lies before the stream and is no placeholder is shared with others and left out.
    """
    inside: set[Node] = set()
    queue, meets = [branch], False
    while queue:
        node = queue.pop()
        if node is stream:
            meets = True
        elif node not in inside and (node.op == "placeholder" or order[node] > order[stream]):
            inside.add(node)
            queue += node.all_input_nodes
    return inside if meets else None


def _kv_bytes(entry: Entry, inside: set[Node]) -> int:
    total = 0
    for port, node in zip(entry.inputs, entry.input_nodes(), strict=True):
        if port.role is Role.CACHE and node in inside:
            numbers = 1
            for size in port.shape:
                numbers *= size if isinstance(size, int) else 1
            total += numbers * port.dtype.itemsize
    return total
