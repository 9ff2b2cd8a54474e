"""Exact passes: they change no output."""

from prunec.passes.cleanup.drop_dead_nodes import DropDeadNodes
from prunec.passes.cleanup.drop_no_ops import DropNoOps
from prunec.passes.cleanup.merge_duplicates import MergeDuplicates
from prunec.passes.cleanup.use_plain_operators import UsePlainOperators

__all__ = ["DropDeadNodes", "DropNoOps", "MergeDuplicates", "UsePlainOperators"]
