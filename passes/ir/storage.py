"""Programs on disk: ``program.json`` and ``weights.safetensors`` in one folder; no pickle."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.fx import Graph, Node

from prunec.passes.ir.outputs import replaced_folder
from prunec.passes.ir.program import Entry, Port, Program, ProgramError, Role
from prunec.passes.ir.shapes import propagate
from prunec.passes.ir.verifier import is_allowed, require_placeholders

FORMAT = 1


def save_program(program: Program, folder: Path) -> None:
    """Write a program into a folder, which appears complete or not at all."""
    document = {
        "format": FORMAT,
        "entries": {name: _entry_to_json(entry) for name, entry in program.entries.items()},
        "buffers": sorted(program.buffers),
        "origin": dict(program.origin),
        "records": [dict(r) for r in program.records],
    }
    with replaced_folder(folder) as partial:
        (partial / "program.json").write_text(json.dumps(document, indent=1) + "\n")
        weights = {n: w.detach().contiguous() for n, w in program.weights.items()}
        save_file(weights, partial / "weights.safetensors")
        (partial / "weights.safetensors").chmod(0o644)  # it is made for its owner alone


def load_program(folder: Path) -> Program:
    """Read a program that `save_program` wrote.

    Raises:
        ProgramError: a file is missing, cut short, or of another format.
    """
    try:
        document = json.loads((folder / "program.json").read_text())
        weights = load_file(folder / "weights.safetensors")
    except FileNotFoundError as error:
        raise ProgramError(f"{folder} is not a program: {error.filename} is missing") from error
    except (json.JSONDecodeError, SafetensorError) as error:
        raise ProgramError(f"{folder} holds a damaged program: {error}") from error
    if document.get("format") != FORMAT:
        raise ProgramError(f"{folder} has format {document.get('format')}, this reads {FORMAT}")
    entries = {name: _entry_from_json(d) for name, d in document["entries"].items()}
    for name, entry in entries.items():
        require_placeholders(name, entry)
    program = Program(
        entries=entries,
        weights=weights,
        buffers=frozenset(document["buffers"]),
        origin=document["origin"],
        records=tuple(document["records"]),
    )
    for entry in entries.values():
        propagate(entry, program.weights)
    return program


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    nodes = []
    for node in entry.graph.nodes:
        if node.op == "output":
            continue
        item: dict[str, Any] = {"name": node.name, "op": node.op}
        if node.op == "call_function":
            item |= {
                "target": target_name(node.target),
                "args": _encode(node.args),
                "kwargs": {k: _encode(v) for k, v in node.kwargs.items()},
            }
        if "source" in node.meta:
            item["source"] = node.meta["source"]
        nodes.append(item)
    return {
        "reads": dict(sorted(entry.reads.items())),
        "inputs": [_port_to_json(p) for p in entry.inputs],
        "outputs": [_port_to_json(p) for p in entry.outputs],
        "nodes": nodes,
        "returns": [n.name for n in entry.output_nodes()],
    }


def _entry_from_json(document: Mapping[str, Any]) -> Entry:
    graph = Graph()
    nodes: dict[str, Node] = {}
    for item in document["nodes"]:
        if item["op"] == "placeholder":
            node = graph.create_node("placeholder", item["name"], name=item["name"])
        else:
            node = graph.create_node(
                "call_function",
                _target(item["target"]),
                tuple(_decode(a, nodes) for a in item["args"]),
                {k: _decode(v, nodes) for k, v in item["kwargs"].items()},
                name=item["name"],
            )
        if "source" in item:
            node.meta["source"] = item["source"]
        nodes[item["name"]] = node
    graph.output(tuple(nodes[name] for name in document["returns"]))
    return Entry(
        graph=graph,
        reads=document["reads"],
        inputs=tuple(_port_from_json(p) for p in document["inputs"]),
        outputs=tuple(_port_from_json(p) for p in document["outputs"]),
    )


def _port_to_json(port: Port) -> dict[str, Any]:
    return {
        "name": port.name,
        "role": str(port.role),
        "shape": list(port.shape),
        "dtype": _torch_name(port.dtype),
    }


def _port_from_json(document: Mapping[str, Any]) -> Port:
    return Port(
        document["name"],
        Role(document["role"]),
        tuple(document["shape"]),
        getattr(torch, document["dtype"]),
    )


def target_name(target: Any) -> str:
    """What a node calls, as text that `load_program` can read."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    return f"{target.__module__.removeprefix('_')}.{target.__name__}"


_PLAIN = {"operator": operator, "torch": torch}
"""Where functions of symbolic sizes live."""


def _target(name: str) -> Any:
    space, *rest = name.split(".")
    found: Any = _PLAIN[space] if space in _PLAIN else getattr(torch.ops, space, None)
    for part in rest:
        found = getattr(found, part, None)
    if not is_allowed(found):
        raise ProgramError(f"the program calls {name}, which this version of torch does not have")
    return found


_TORCH_KINDS = {
    torch.dtype: "dtype",
    torch.device: "device",
    torch.layout: "layout",
    torch.memory_format: "memory_format",
}


def _torch_name(value: Any) -> str:
    return str(value).removeprefix("torch.")


def _encode(value: Any) -> Any:
    if isinstance(value, Node):
        return {"node": value.name}
    if isinstance(value, (list, tuple)):
        return [_encode(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    for kind, key in _TORCH_KINDS.items():
        if isinstance(value, kind):
            return {key: _torch_name(value)}
    raise ProgramError(f"a program cannot be stored with an argument of type {type(value)}")


def _decode(value: Any, nodes: Mapping[str, Node]) -> Any:
    if isinstance(value, list):
        return [_decode(v, nodes) for v in value]
    if not isinstance(value, dict):
        return value
    ((key, content),) = value.items()
    match key:
        case "node":
            return nodes[content]
        case "float":
            return float(content)
        case "device":
            return torch.device(content)
        case _:
            return getattr(torch, content)
