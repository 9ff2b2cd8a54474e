"""Ways to share a budget among structures."""

from prunec.passes.plan.allocation.block_influence import BlockInfluence
from prunec.passes.plan.allocation.by_score import ByScore
from prunec.passes.plan.allocation.method import Method
from prunec.passes.plan.allocation.stability import Stability
from prunec.passes.plan.allocation.standardise import STANDARDS
from prunec.passes.plan.allocation.uniform import Uniform

METHODS: dict[str, type[Method]] = {
    m.name: m for m in (Uniform, ByScore, BlockInfluence, Stability)
}

__all__ = ["METHODS", "STANDARDS", "Method"]
