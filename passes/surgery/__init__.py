"""Passes that cut, and nothing else."""

from prunec.passes.surgery.remove_structures import CutError, RemoveStructures, cut_program

__all__ = ["CutError", "RemoveStructures", "cut_program"]
