"""A pass from outside, as another package would bring it."""

from __future__ import annotations

from dataclasses import dataclass

from prunec.passes.contract import Context, Pass
from prunec.passes.ir import Program


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
