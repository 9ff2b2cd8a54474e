"""Named pipelines: the order, readable."""

from __future__ import annotations

from prunec.passes.cleanup import DropDeadNodes, DropNoOps, MergeDuplicates, UsePlainOperators
from prunec.passes.contract import Pass

CLEAN: tuple[Pass, ...] = (
    # First: dropping a copy may change strides that a view relies on.
    UsePlainOperators(),
    DropNoOps(),
    # After that, so that two reads of one value no longer differ by a no-op between them.
    MergeDuplicates(),
    # Last: both leave nodes that nothing reads.
    DropDeadNodes(),
)

PIPELINES: dict[str, tuple[Pass, ...]] = {"clean": CLEAN}
"""By the name under which a pipeline's text may call them."""
