"""A pass and an operator rule from outside, as another package would bring them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from prunec.passes.analysis.coupling import Rule, Site
from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Program
from prunec.passes.ir.axes import Axis


@dataclass(frozen=True)
class ScaleWeights(Pass):
    """Multiply every parameter by a factor.

    Changes: the value of every parameter.
    Keeps: every shape.
    """

    name = "scale-weights"

    factor: float = 1.0

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        if self.factor == 1.0:
            return program
        return program.with_weights({n: w * self.factor for n, w in program.parameters().items()})


def relate_erfcx(site: Site) -> tuple[Axis, ...]:
    """Elementwise: the result has the operand's axes."""
    return site.axes(site.argument("self"))


OP_RULES = {torch.ops.aten.special_erfcx: Rule(relate_erfcx)}
