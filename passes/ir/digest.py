"""Keys of what is stored, and the digests that they are made of."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import torch
from torch.fx import Node

from prunec.passes.ir.program import Program
from prunec.passes.ir.storage import target_name

_ROOT = Path(__file__).parents[2]
_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
_PLUG_INS = ("prunec.op_rules", "prunec.passes")


def make_key(code: Sequence[str], **parts: object) -> str:
    """The key of something stored: a digest of everything that made it, as a name for a file.

    The versions of the libraries that compute and of packages that plug in belong to every key.

    Args:
        code: Folders of prunec whose source decides what is stored, such as ``passes``.
        parts: All else that decides it, by name: what `digest` takes.

    Raises:
        TypeError: a part has no content that could be digested.
    """
    made_of = {"parts": parts, "code": digest_source(*code), "versions": _versions()}
    return digest(made_of).hex()


def digest(value: object) -> bytes:
    """A digest of a value's kind and content, to the last bit.

    Args:
        value: A program, tensor, dtype, plain value, dataclass, or mappings by text and sequences
            of these. Lists and tuples count as the same.

    Raises:
        TypeError: it is something else; says what to give instead.
    """
    match value:
        case Program():
            return digest_program(value)
        case torch.Tensor():
            return digest_tensor(value)
        case bytes():
            return _hash(b"bytes", [value])
        case None | bool() | int() | float() | str() | torch.dtype():
            return _hash(type(value).__name__.encode(), [repr(value).encode()])
        case Mapping():
            items = sorted((digest(key), digest(item)) for key, item in value.items())
            return _hash(b"mapping", [part for item in items for part in item])
        case list() | tuple():
            return _hash(b"sequence", map(digest, value))
        case _ if is_dataclass(value) and not isinstance(value, type):
            content = {f.name: digest(getattr(value, f.name)) for f in fields(value)}
            return _hash(type(value).__qualname__.encode(), [digest(content)])
    raise TypeError(
        f"a {type(value).__name__} has no content to digest: give what it holds (of a file its "
        "bytes, of a set a sorted list, of a function what it was made with)"
    )


def digest_program(program: Program) -> bytes:
    """A digest of a program's graphs, of what they take and return, and of its weights."""
    parts = [repr(sorted(program.buffers)).encode()]
    for name, entry in sorted(program.entries.items()):
        nodes = [(n.op, _called(n), n.name, n.args, n.kwargs) for n in entry.graph.nodes]
        outside = (sorted(entry.reads.items()), entry.inputs, entry.outputs)
        parts.append(repr((name, nodes, outside)).encode())
    for name, weight in sorted(program.weights.items()):
        parts += [name.encode(), digest_tensor(weight)]
    return _hash(b"program", parts)


def _called(node: Node) -> str:
    """What a node calls, in a spelling that holds for other processes too."""
    return target_name(node.target) if node.op == "call_function" else str(node.target)


def digest_tensor(tensor: torch.Tensor) -> bytes:
    """A digest of dtype, shape and content."""
    kind = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return _hash(kind, [content.numpy().data])


@cache
def digest_source(*folders: str) -> bytes:
    """A digest of prunec's own source in these of its folders, such as ``passes``.

    Raises:
        ValueError: there is no source in one of them.
    """
    for folder in folders:
        if not any((_ROOT / folder).rglob("*.py")):
            raise ValueError(f"prunec has no source in {folder}")
    files = {file for folder in folders for file in (_ROOT / folder).rglob("*.py")}
    parts = [(str(file.relative_to(_ROOT)).encode(), file.read_bytes()) for file in sorted(files)]
    return _hash(b"source", [part for file in parts for part in file])


def _versions() -> dict[str, list[str]]:
    """By package: the version that is installed, and the one that this process has loaded."""
    found = {}
    for name in _LIBRARIES:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = ""
        found[name] = [installed, str(getattr(sys.modules.get(name), "__version__", installed))]
    for group in _PLUG_INS:
        for point in metadata.entry_points(group=group):
            if point.dist is not None:
                found[point.dist.name] = [point.dist.version]
    return found


def _hash(kind: bytes, parts: Iterable[bytes | memoryview]) -> bytes:
    """A digest from which no part can have moved into another: each is preceded by its length."""
    found = hashlib.sha256()
    for part in (kind, *parts):
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()
