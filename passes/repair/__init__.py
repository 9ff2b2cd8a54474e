"""Passes that heal what was cut."""

from prunec.passes.repair.compensate_bias import CompensateBias
from prunec.passes.repair.match_logits import MatchLogits
from prunec.passes.repair.reconstruct import Reconstruct
from prunec.passes.repair.refit import Refit

__all__ = ["CompensateBias", "MatchLogits", "Reconstruct", "Refit"]
