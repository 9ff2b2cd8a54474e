"""Hold a program to its grammar; the manager calls this after every pass."""

from __future__ import annotations

import operator

import torch
from torch._ops import OpOverload

from prunec.passes.ir.program import Entry, Port, Program, ProgramError, Role
from prunec.passes.ir.shapes import propagate, static_shape


def verify(program: Program, before: Program | None = None) -> None:
    """Check graph, shapes, weights and the contract with the outside.

    Args:
        program: What a pass returned.
        before: What the pass was given; graphs that are the same object are not checked again.

    Raises:
        ProgramError: the first thing that does not hold, with the node or weight that shows it.
    """
    read: set[str] = set()
    for name, entry in program.entries.items():
        read.update(entry.reads.values())
        missing = set(entry.reads.values()) - set(program.weights)
        if missing:
            raise ProgramError(f"entry {name} reads weights that are not there: {sorted(missing)}")
        if not _unchanged(program, before, name):
            _verify_entry(name, entry, program)
        if before is not None and name in before.entries:
            _verify_contract(name, before.entries[name], entry)
    unread = sorted(set(program.weights) - read)
    if unread:
        raise ProgramError(f"weights that no entry point reads: {unread[:5]}")
    for weight in program.parameters().values():
        if not weight.dtype.is_floating_point:
            raise ProgramError("a parameter is not of a floating-point type; list it as a buffer")


def _unchanged(program: Program, before: Program | None, name: str) -> bool:
    if before is None or name not in before.entries:
        return False
    if before.entries[name] is not program.entries[name]:
        return False
    return all(
        before.weights[w].shape == program.weights[w].shape
        and before.weights[w].dtype == program.weights[w].dtype
        for w in program.entries[name].reads.values()
    )


def _verify_entry(name: str, entry: Entry, program: Program) -> None:
    entry.graph.lint()
    for node in entry.graph.nodes:
        if node.op not in ("placeholder", "call_function", "output"):
            raise ProgramError(f"entry {name}: node {node.name} has the kind {node.op}")
        if node.op == "call_function" and not is_allowed(node.target):
            raise ProgramError(f"entry {name}: node {node.name} calls {node.target}, no ATen op")
    require_placeholders(name, entry)
    contract = [
        (entry.inputs, entry.input_nodes()),
        (entry.outputs, entry.output_nodes()),
    ]
    propagate(entry, program.weights)
    for ports, nodes in contract:
        for port, node in zip(ports, nodes, strict=True):
            _verify_port(name, port, node)


def require_placeholders(name: str, entry: Entry) -> None:
    """Hold an entry point to its order: weights first, then the inputs as their ports stand.

    Placeholders that bear the names of the ports must bear them in the ports' order.

    Args:
        name: The name of the entry point, for the message.
        entry: Needs no shapes.

    Raises:
        ProgramError: something is read by no placeholder, fed to none, or out of order.
    """
    placeholders = [node.name for node in entry.graph.find_nodes(op="placeholder")]
    unknown = sorted(set(entry.reads) - set(placeholders))
    if unknown:
        raise ProgramError(f"entry {name} has no placeholders {unknown[:5]} to read weights by")
    contract = ((entry.inputs, entry.input_nodes()), (entry.outputs, entry.output_nodes()))
    for ports, nodes in contract:
        if len(ports) != len(nodes):
            raise ProgramError(f"entry {name}: {len(ports)} ports for {len(nodes)} nodes")
    first, rest = placeholders[: len(entry.reads)], placeholders[len(entry.reads) :]
    for early in (p for p in first if p not in entry.reads):
        late = next(p for p in rest if p in entry.reads)
        raise ProgramError(f"entry {name}: {early}, an input, stands before {late}, a weight")
    _require_order_of_ports(name, entry.inputs, rest)


def _require_order_of_ports(name: str, ports: tuple[Port, ...], placeholders: list[str]) -> None:
    wanted = ["".join(c if c.isalnum() else "_" for c in port.name) for port in ports]
    if sorted(wanted) != sorted(placeholders):
        return  # they have names of their own
    for port, expected, found in zip(ports, wanted, placeholders, strict=True):
        if expected != found:
            raise ProgramError(f"entry {name}: the port {port.name} meets the placeholder {found}")


def _verify_port(entry: str, port: Port, node: torch.fx.Node) -> None:
    told = tuple(s if isinstance(s, int) else None for s in port.shape)
    found = static_shape(node)
    if told != found or port.dtype != node.meta["val"].dtype:
        raise ProgramError(
            f"entry {entry}: {port.name} is declared {told} {port.dtype}, "
            f"its node {node.name} is {found} {node.meta['val'].dtype}"
        )


def _verify_contract(name: str, before: Entry, after: Entry) -> None:
    """Every port is still there; a cache may go with its layer, as input and output at once."""
    lost_caches = []
    for kind, old, new in (
        ("inputs", before.inputs, after.inputs),
        ("outputs", before.outputs, after.outputs),
    ):
        kept = {p.name: (p.role, len(p.shape)) for p in new}
        lost = [p for p in old if kept.get(p.name) != (p.role, len(p.shape))]
        for port in lost:
            if port.role is not Role.CACHE or port.name in kept:
                raise ProgramError(f"entry {name}: the pass lost or changed {kind} {port.name}")
        lost_caches.append([place for place, p in enumerate(_caches(old)) if p in lost])
    if lost_caches[0] != lost_caches[1]:
        raise ProgramError(f"entry {name}: the pass lost an input of the cache or its output alone")


def _caches(ports: tuple[Port, ...]) -> list[Port]:
    return [port for port in ports if port.role is Role.CACHE]


_SIZE_FUNCTIONS = (torch.sym_max, torch.sym_min)


def is_allowed(target: object) -> bool:
    """Whether a node may call this: an ATen operator, or Python arithmetic on symbolic sizes."""
    if target in _SIZE_FUNCTIONS:
        return True
    if isinstance(target, OpOverload):
        return target.namespace in ("aten", "prims")
    name = getattr(target, "__name__", None)
    return name is not None and getattr(operator, name, None) is target
