"""Digests of what results depend on: programs and tensors, to the last bit."""

from __future__ import annotations

import hashlib

import torch

from prunec.passes.ir.program import Program


def digest_program(program: Program) -> bytes:
    """A digest of a program's graphs and of its weights to the last bit."""
    digest = hashlib.sha256(program.fingerprint().encode())
    for name, entry in sorted(program.entries.items()):
        nodes = [(n.op, str(n.target), n.name, n.args, n.kwargs) for n in entry.graph.nodes]
        digest.update(repr((name, nodes, dict(entry.reads), entry.inputs)).encode())
    for name, weight in sorted(program.weights.items()):
        digest.update(name.encode())
        digest.update(digest_tensor(weight))
    return digest.digest()


def digest_tensor(tensor: torch.Tensor) -> bytes:
    """A digest of dtype, shape and content."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(content.numpy().data)
    return digest.digest()
