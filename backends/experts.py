"""What ties the two models of a program whose prompt chooses units; written beside them as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from prunec.passes.ir import DECODE, PREFILL, Entry, Port, Program, Role
from prunec.passes.ir.chosen import choices_per_batch, chosen_units, require_choice

MANIFEST = "experts.json"
"""The file by which a folder is known to hold such models."""

_FORMAT = 1


class ExpertsError(Exception):
    """A folder does not hold the two models of a prompt's choice; the message says why."""


@dataclass(frozen=True)
class EntryFile:
    """One entry point as a file.

    Attributes:
        file: Its name in the folder.
        inputs: Of the entry point, each with ``name``, ``role``, ``shape`` (sizes, and labels of
            dynamic ones) and ``dtype``.
        outputs: Likewise.
    """

    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class ExpertsManifest:
    """Everything that a runner must know besides the two files.

    Attributes:
        entries: ``prefill`` and ``decode``.
        cache: From an output of either entry point to the input of the next step's, which has one
            name in both.
        experts: From an output of prefill to the input of every decode until the next prompt.
        chosen: Of each structure its ``indices`` output, ``weights`` by port, how many ``units``
            there are and the ``count`` that is chosen, and ``part_bytes`` of ``whole_bytes``.
        choices: ``shared`` by the rows of a batch, or ``per-sequence``.
        is_refitted: Whether prefill solves what it hands on anew, so that it is more than a copy.
        context_length: The most tokens that prompt and answer have together; None if unknown.
    """

    entries: Mapping[str, EntryFile]
    cache: Mapping[str, str]
    experts: Mapping[str, str]
    chosen: tuple[Mapping[str, Any], ...]
    choices: str
    is_refitted: bool
    context_length: int | None

    @classmethod
    def of(cls, program: Program, suffix: str) -> ExpertsManifest:
        """Describe a program whose entry points are files ``prefill<suffix>``, ``decode<suffix>``.

        Raises:
            ProgramError: the program has other entry points.
        """
        require_choice(program)
        decode = program.entries[DECODE]
        return cls(
            entries={
                name: EntryFile(f"{name}{suffix}", entry.inputs, entry.outputs)
                for name, entry in program.entries.items()
            },
            cache=_cache_ties(decode),
            experts={port.name: port.name for port in decode.ports(Role.EXPERTS)[0]},
            chosen=tuple(found.to_json() for found in chosen_units(program)),
            choices=choices_per_batch(program),
            is_refitted=_solves(program.entries[PREFILL]),
            context_length=program.origin.get("max_position_embeddings"),
        )

    def to_json(self) -> str:
        """The manifest as text that `read_experts` reads."""
        plain: dict[str, Any] = {"format": _FORMAT}
        plain |= {field.name: getattr(self, field.name) for field in fields(self)}
        plain["entries"] = {
            name: {
                "file": entry.file,
                "inputs": [_port_to_json(port) for port in entry.inputs],
                "outputs": [_port_to_json(port) for port in entry.outputs],
            }
            for name, entry in self.entries.items()
        }
        return json.dumps(plain, indent=1) + "\n"


def has_experts(path: Path) -> bool:
    """Whether a folder holds the two models of a prompt's choice."""
    return (path / MANIFEST).is_file()


def read_experts(folder: Path) -> ExpertsManifest:
    """Read the manifest of a folder.

    Raises:
        ExpertsError: there is none, it is damaged or of another format, or a model is missing.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ExpertsError(
            f"{folder} has no {MANIFEST}: give the folder where it lies beside {PREFILL} and "
            f"{DECODE}"
        )
    try:
        found = _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExpertsError(
            f"{path} is no manifest of two models ({error}): write them again"
        ) from error
    missing = [e.file for e in found.entries.values() if not (folder / e.file).is_file()]
    if missing:
        raise ExpertsError(f"{folder} lacks {', '.join(missing)}, which {MANIFEST} names")
    return found


def _from_json(plain: dict[str, Any]) -> ExpertsManifest:
    if plain.pop("format") != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    entries = {
        name: EntryFile(
            entry["file"],
            tuple(map(_port_from_json, entry["inputs"])),
            tuple(map(_port_from_json, entry["outputs"])),
        )
        for name, entry in plain.pop("entries").items()
    }
    return ExpertsManifest(entries, chosen=tuple(plain.pop("chosen")), **plain)


def _port_to_json(port: Port) -> dict[str, Any]:
    return asdict(port) | {"dtype": str(port.dtype).removeprefix("torch.")}


def _port_from_json(plain: Mapping[str, Any]) -> Port:
    return Port(
        plain["name"],
        Role(plain["role"]),
        tuple(plain["shape"]),
        getattr(torch, plain["dtype"]),
    )


def _cache_ties(entry: Entry) -> dict[str, str]:
    inputs, outputs = entry.ports(Role.CACHE)
    return {given.name: taken.name for taken, given in zip(inputs, outputs, strict=True)}


def _solves(prefill: Entry) -> bool:
    return any(node.target is torch.ops.aten.cholesky_solve.default for node in prefill.graph.nodes)
