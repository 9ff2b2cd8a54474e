"""Passes that cut, and nothing else."""

from prunec.passes.surgery.remove_structures import RemoveStructures, cut_program

__all__ = ["RemoveStructures", "cut_program"]
