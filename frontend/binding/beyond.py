"""Run a traced module and its program on inputs larger than the trace holds for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import Dim
from torch.utils import _pytree as pytree

from prunec.frontend.binding.agreement import difference, limit_of
from prunec.frontend.tracing.errors import ExportError
from prunec.frontend.tracing.quiet import quietly
from prunec.passes.ir import Program, execute


@torch.no_grad()
def require_same_beyond(
    program: Program, module: torch.nn.Module, inputs: Sequence[Any] | Mapping[str, Any]
) -> None:
    """Compare both where sizes are larger than the trace found that they may be.

    A table of so many rows ends there for either; a branch on the size does not.

    Args:
        program: Its origin tells the largest sizes.
        module: What was traced.
        inputs: What it was traced on; they are repeated along the sizes that are bounded.

    Raises:
        ExportError: both run there, and differ.
    """
    for label, most in program.origin.get("size_limits", {}).items():
        larger, tensors = _enlarged(program, inputs, label, most + 1)
        feeds = {p.name: t for p, t in zip(program.main.inputs, tensors, strict=True)}
        try:
            with quietly():
                is_named = isinstance(larger, Mapping)
                result = module(**larger) if is_named else module(*larger)
            found = list(execute(program, feeds).values())
        except Exception:  # either says so itself, where it is run
            continue
        expected = [t for t in pytree.tree_leaves(result) if isinstance(t, torch.Tensor)]
        if not all(map(_is_close, found, expected)):
            raise ExportError(
                f"{type(module).__name__} decides by a size ({label}) what it computes: the trace "
                f"holds to {most}, and the module goes on otherwise. Replace the branch, or give "
                f"that dimension a range: Dim(name, max={most})"
            )


def names_ranges(dynamic_shapes: Any) -> bool:
    """Whether the user said how large sizes may be: what lies beyond is not asked for then."""
    return any(isinstance(leaf, Dim) for leaf in pytree.tree_leaves(dynamic_shapes))


def _enlarged(
    program: Program, inputs: Any, label: str, size: int
) -> tuple[Any, list[torch.Tensor]]:
    """The inputs with this size, in their structure and one by one."""
    leaves, structure = pytree.tree_flatten(inputs)
    ports = iter(program.main.inputs)
    tensors = []
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor):
            for dim, named in enumerate(next(ports).shape):
                if named == label:
                    rows = torch.arange(size, device=leaf.device) % leaf.shape[dim]
                    leaves[place] = leaves[place].index_select(dim, rows)
            tensors.append(leaves[place])
    return pytree.tree_unflatten(leaves, structure), tensors


def _is_close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    is_same_shape = found.shape == expected.shape
    return is_same_shape and difference(found.double(), expected.double()) <= limit_of(expected)
