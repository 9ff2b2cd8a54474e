"""Passes that cut, and nothing else."""

from prunec.passes.surgery.remove_structures import CutError, RemoveStructures, cut_program
from prunec.passes.surgery.select_experts import SelectExperts

__all__ = ["CutError", "RemoveStructures", "SelectExperts", "cut_program"]
