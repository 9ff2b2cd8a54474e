"""How much each unit of a structure matters, by several criteria."""

from prunec.passes.analysis.importance.score import CRITERIA, Score
from prunec.passes.analysis.importance.scores import Criterion, Scores

__all__ = ["CRITERIA", "Criterion", "Score", "Scores"]
